import type { ClassModel } from '../vocabulary.js';

export const host_metrics = {
  name: 'host_metrics',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    memory_total: { type: 'int', qualifier: 'RO/runtime' },
    memory_free: { type: 'int', qualifier: 'RO/runtime', default: 0, removed: true },
    live: { type: 'bool', qualifier: 'RO/runtime' },
    last_updated: { type: 'datetime', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
  },
  messages: {},
} as const satisfies ClassModel;
