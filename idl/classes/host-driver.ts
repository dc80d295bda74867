import type { ClassModel } from '../vocabulary.js';

export const Host_driver = {
  name: 'Host_driver',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    host: { type: 'ref:host', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    name: { type: 'string', qualifier: 'RO/runtime' },
    friendly_name: { type: 'string', qualifier: 'RO/runtime' },
    variants: { type: 'set(ref:Driver_variant)', qualifier: 'RO/runtime' },
    active_variant: { type: 'ref:Driver_variant', qualifier: 'RO/runtime' },
    selected_variant: { type: 'ref:Driver_variant', qualifier: 'RO/runtime' },
    type: { type: 'string', qualifier: 'RO/runtime' },
    description: { type: 'string', qualifier: 'RO/runtime' },
    info: { type: 'string', qualifier: 'RO/runtime' },
  },
  messages: {
    select: {
      params: [
        { name: 'self', type: 'ref:Host_driver' },
        { name: 'variant', type: 'ref:Driver_variant' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
    deselect: { params: [{ name: 'self', type: 'ref:Host_driver' }], result: 'void', roles: 'pool-admin', async: true },
    rescan: { params: [{ name: 'host', type: 'ref:host' }], result: 'void', roles: 'pool-admin', async: true },
  },
} as const satisfies ClassModel;
