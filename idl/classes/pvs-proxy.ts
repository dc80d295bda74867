import type { ClassModel } from '../vocabulary.js';

export const PVS_proxy = {
  name: 'PVS_proxy',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    site: { type: 'ref:PVS_site', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    VIF: { type: 'ref:VIF', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    currently_attached: { type: 'bool', qualifier: 'RO/runtime', default: false },
    status: { type: 'enum:pvs_proxy_status', qualifier: 'RO/runtime', default: 'stopped' },
  },
  messages: {
    create: {
      params: [
        { name: 'site', type: 'ref:PVS_site' },
        { name: 'VIF', type: 'ref:VIF' },
      ],
      result: 'ref:PVS_proxy',
      roles: 'pool-operator',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:PVS_proxy' }], result: 'void', roles: 'pool-operator', async: true },
  },
} as const satisfies ClassModel;
