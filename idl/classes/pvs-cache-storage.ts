import type { ClassModel } from '../vocabulary.js';

export const PVS_cache_storage = {
  name: 'PVS_cache_storage',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    host: { type: 'ref:host', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    SR: { type: 'ref:SR', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    site: { type: 'ref:PVS_site', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    size: { type: 'int', qualifier: 'RO/constructor', default: 21474836480 },
    VDI: { type: 'ref:VDI', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:PVS_cache_storage' }],
      result: 'ref:PVS_cache_storage',
      roles: 'pool-operator',
      async: true,
    },
    destroy: {
      params: [{ name: 'self', type: 'ref:PVS_cache_storage' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
  },
} as const satisfies ClassModel;
