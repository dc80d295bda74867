/** A journal without a disk, for tests of what its rows come to. */
import type { Journal, JournalRow } from '../../src/xenops/journal.js';

export function memoryJournal(): Journal {
  const rows = new Map<string, JournalRow>();
  return {
    get: ((side, id) => rows.get(`${side}/${id}`)) as Journal['get'],
    put: async (row) => void rows.set(`${row.side}/${row.migrationId}`, row),
    remove: async (side, id) => void rows.delete(`${side}/${id}`),
    rows: () => [...rows.values()],
    removeOld: async () => undefined,
  };
}
