import type { ClassModel } from '../vocabulary.js';

export const VBD_metrics = {
  name: 'VBD_metrics',
  removed: true,
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    io_read_kbs: { type: 'float', qualifier: 'RO/runtime', default: 0.0, removed: true },
    io_write_kbs: { type: 'float', qualifier: 'RO/runtime', default: 0.0, removed: true },
    last_updated: { type: 'datetime', qualifier: 'RO/runtime', default: '19700101T00:00:00Z', removed: true },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'vm-admin', removed: true },
  },
  messages: {},
} as const satisfies ClassModel;
