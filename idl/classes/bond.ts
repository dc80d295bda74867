import type { ClassModel } from '../vocabulary.js';

export const Bond = {
  name: 'Bond',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    master: { type: 'ref:PIF', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    slaves: { type: 'set(ref:PIF)', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
    primary_slave: { type: 'ref:PIF', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
    mode: { type: 'enum:bond_mode', qualifier: 'RO/runtime', default: 'balance-slb' },
    properties: { type: 'map(string,string)', qualifier: 'RO/runtime', default: {} },
    links_up: { type: 'int', qualifier: 'RO/runtime', default: 0 },
    auto_update_mac: { type: 'bool', qualifier: 'RO/runtime', default: true },
  },
  messages: {
    create: {
      params: [
        { name: 'network', type: 'ref:network' },
        { name: 'members', type: 'set(ref:PIF)' },
        { name: 'MAC', type: 'string' },
        { name: 'mode', type: 'enum:bond_mode', default: 'balance-slb' },
        { name: 'properties', type: 'map(string,string)', default: {} },
      ],
      result: 'ref:Bond',
      roles: 'pool-operator',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:Bond' }], result: 'void', roles: 'pool-operator', async: true },
    set_mode: {
      params: [
        { name: 'self', type: 'ref:Bond' },
        { name: 'value', type: 'enum:bond_mode' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    set_property: {
      params: [
        { name: 'self', type: 'ref:Bond' },
        { name: 'name', type: 'string' },
        { name: 'value', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
  },
} as const satisfies ClassModel;
