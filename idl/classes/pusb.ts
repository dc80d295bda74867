import type { ClassModel } from '../vocabulary.js';

export const PUSB = {
  name: 'PUSB',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    USB_group: { type: 'ref:USB_group', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    host: { type: 'ref:host', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    path: { type: 'string', qualifier: 'RO/constructor', default: '' },
    vendor_id: { type: 'string', qualifier: 'RO/constructor', default: '' },
    vendor_desc: { type: 'string', qualifier: 'RO/constructor', default: '' },
    product_id: { type: 'string', qualifier: 'RO/constructor', default: '' },
    product_desc: { type: 'string', qualifier: 'RO/constructor', default: '' },
    serial: { type: 'string', qualifier: 'RO/constructor', default: '' },
    version: { type: 'string', qualifier: 'RO/constructor', default: '' },
    description: { type: 'string', qualifier: 'RO/constructor', default: '' },
    passthrough_enabled: { type: 'bool', qualifier: 'RO/runtime', default: false },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-admin' },
    speed: { type: 'float', qualifier: 'RO/constructor', default: -1.0 },
  },
  messages: {
    scan: { params: [{ name: 'host', type: 'ref:host' }], result: 'void', roles: 'pool-admin', async: true },
    set_passthrough_enabled: {
      params: [
        { name: 'self', type: 'ref:PUSB' },
        { name: 'value', type: 'bool' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
  },
} as const satisfies ClassModel;
