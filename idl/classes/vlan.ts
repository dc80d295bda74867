import type { ClassModel } from '../vocabulary.js';

export const VLAN = {
  name: 'VLAN',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    tagged_PIF: { type: 'ref:PIF', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    untagged_PIF: { type: 'ref:PIF', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
    tag: { type: 'int', qualifier: 'RO/constructor', default: -1 },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
  },
  messages: {
    pool_introduce: {
      params: [
        { name: 'tagged_PIF', type: 'ref:PIF' },
        { name: 'untagged_PIF', type: 'ref:PIF' },
        { name: 'tag', type: 'int' },
        { name: 'other_config', type: 'map(string,string)' },
      ],
      result: 'ref:VLAN',
      roles: 'pool-operator',
      async: true,
      hidden: true,
    },
    create: {
      params: [
        { name: 'tagged_PIF', type: 'ref:PIF' },
        { name: 'tag', type: 'int' },
        { name: 'network', type: 'ref:network' },
      ],
      result: 'ref:VLAN',
      roles: 'pool-operator',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:VLAN' }], result: 'void', roles: 'pool-operator', async: true },
  },
} as const satisfies ClassModel;
