import type { ClassModel } from '../vocabulary.js';

export const host_patch = {
  name: 'host_patch',
  inDatabase: true,
  events: true,
  generic: [
    'get_record',
    'get_by_uuid',
    'get_by_name_label',
    'get_all',
    'get_all_where',
    'get_all_records_where',
    'get_all_records',
  ],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    name_label: { type: 'string', qualifier: 'RO/constructor', default: '' },
    name_description: { type: 'string', qualifier: 'RO/constructor', default: '' },
    version: { type: 'string', qualifier: 'RO/constructor' },
    host: { type: 'ref:host', qualifier: 'RO/constructor' },
    applied: { type: 'bool', qualifier: 'RO/runtime' },
    timestamp_applied: { type: 'datetime', qualifier: 'RO/runtime' },
    size: { type: 'int', qualifier: 'RO/runtime' },
    pool_patch: { type: 'ref:pool_patch', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
  },
  messages: {
    destroy: {
      params: [{ name: 'self', type: 'ref:host_patch' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    apply: {
      params: [{ name: 'self', type: 'ref:host_patch' }],
      result: 'string',
      roles: 'pool-operator',
      async: true,
    },
  },
} as const satisfies ClassModel;
