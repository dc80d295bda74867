import type { Faults } from '../../src/migrate/faults.js';

/** Nothing is broken on purpose. */
export const noFaults: Faults = {
  at: async () => undefined,
  channel: async (_kind, _place, socket) => socket,
};
