import type { Faults } from '../../src/migrate/faults.js';

/** Fault rules that break nothing. */
export const noFaults: Faults = {
  at: async () => undefined,
  channel: async (_kind, _place, socket) => socket,
};
