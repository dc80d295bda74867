import type { ClassModel } from '../vocabulary.js';

export const PVS_server = {
  name: 'PVS_server',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    addresses: { type: 'set(string)', qualifier: 'RO/constructor', default: [] },
    first_port: { type: 'int', qualifier: 'RO/constructor', default: 0 },
    last_port: { type: 'int', qualifier: 'RO/constructor', default: 0 },
    site: { type: 'ref:PVS_site', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
  },
  messages: {
    introduce: {
      params: [
        { name: 'addresses', type: 'set(string)' },
        { name: 'first_port', type: 'int' },
        { name: 'last_port', type: 'int' },
        { name: 'site', type: 'ref:PVS_site' },
      ],
      result: 'ref:PVS_server',
      roles: 'pool-operator',
      async: true,
    },
    forget: { params: [{ name: 'self', type: 'ref:PVS_server' }], result: 'void', roles: 'pool-operator', async: true },
  },
} as const satisfies ClassModel;
