import type { ClassModel } from '../vocabulary.js';

export const Diagnostics = {
  name: 'Diagnostics',
  inDatabase: false,
  events: false,
  generic: [],
  fields: {},
  messages: {
    gc_compact: {
      params: [{ name: 'host', type: 'ref:host' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      hidden: true,
    },
    gc_stats: {
      params: [{ name: 'host', type: 'ref:host' }],
      result: 'map(string,string)',
      roles: 'pool-operator',
      async: true,
      hidden: true,
    },
    db_stats: { params: [], result: 'map(string,string)', roles: 'pool-operator', async: true, hidden: true },
    network_stats: {
      params: [
        { name: 'host', type: 'ref:host' },
        { name: 'params', type: 'map(string,string)' },
      ],
      result: 'set(set(string))',
      roles: 'pool-operator',
      async: true,
      hidden: true,
    },
  },
} as const satisfies ClassModel;
