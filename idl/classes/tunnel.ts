import type { ClassModel } from '../vocabulary.js';

export const tunnel = {
  name: 'tunnel',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    access_PIF: { type: 'ref:PIF', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    transport_PIF: { type: 'ref:PIF', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    status: { type: 'map(string,string)', qualifier: 'RW', default: { active: 'false' }, writers: 'pool-operator' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
    protocol: { type: 'enum:tunnel_protocol', qualifier: 'RW', default: 'gre', writers: 'pool-operator' },
  },
  messages: {
    create: {
      params: [
        { name: 'transport_PIF', type: 'ref:PIF' },
        { name: 'network', type: 'ref:network' },
        { name: 'protocol', type: 'enum:tunnel_protocol', default: 'gre' },
      ],
      result: 'ref:tunnel',
      roles: 'pool-operator',
      async: true,
      errors: ['IS_TUNNEL_ACCESS_PIF', 'OPENVSWITCH_NOT_ACTIVE', 'TRANSPORT_PIF_NOT_CONFIGURED'],
    },
    destroy: { params: [{ name: 'self', type: 'ref:tunnel' }], result: 'void', roles: 'pool-operator', async: true },
  },
} as const satisfies ClassModel;
