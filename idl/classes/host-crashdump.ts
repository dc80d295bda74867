import type { ClassModel } from '../vocabulary.js';

export const host_crashdump = {
  name: 'host_crashdump',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    host: { type: 'ref:host', qualifier: 'RO/constructor' },
    timestamp: { type: 'datetime', qualifier: 'RO/runtime' },
    size: { type: 'int', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
  },
  messages: {
    destroy: {
      params: [{ name: 'self', type: 'ref:host_crashdump' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    upload: {
      params: [
        { name: 'self', type: 'ref:host_crashdump' },
        { name: 'url', type: 'string' },
        { name: 'options', type: 'map(string,string)' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
  },
} as const satisfies ClassModel;
