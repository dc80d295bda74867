import type { ClassModel } from '../vocabulary.js';

export const network_sriov = {
  name: 'network_sriov',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    physical_PIF: { type: 'ref:PIF', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    logical_PIF: { type: 'ref:PIF', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    requires_reboot: { type: 'bool', qualifier: 'RO/runtime', default: false },
    configuration_mode: { type: 'enum:sriov_configuration_mode', qualifier: 'RO/runtime', default: 'unknown' },
  },
  messages: {
    create: {
      params: [
        { name: 'pif', type: 'ref:PIF' },
        { name: 'network', type: 'ref:network' },
      ],
      result: 'ref:network_sriov',
      roles: 'pool-operator',
      async: true,
    },
    destroy: {
      params: [{ name: 'self', type: 'ref:network_sriov' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    get_remaining_capacity: {
      params: [{ name: 'self', type: 'ref:network_sriov' }],
      result: 'int',
      roles: 'read-only',
      async: true,
    },
  },
} as const satisfies ClassModel;
