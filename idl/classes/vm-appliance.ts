import type { ClassModel } from '../vocabulary.js';

export const VM_appliance = {
  name: 'VM_appliance',
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
    name_label: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-operator' },
    name_description: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-operator' },
    allowed_operations: { type: 'set(enum:vm_appliance_operation)', qualifier: 'RO/runtime', default: [] },
    current_operations: { type: 'map(string,enum:vm_appliance_operation)', qualifier: 'RO/runtime', default: {} },
    VMs: { type: 'set(ref:VM)', qualifier: 'RO/runtime' },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:VM_appliance' }],
      result: 'ref:VM_appliance',
      roles: 'pool-operator',
      async: true,
    },
    destroy: {
      params: [{ name: 'self', type: 'ref:VM_appliance' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    start: {
      params: [
        { name: 'self', type: 'ref:VM_appliance' },
        { name: 'paused', type: 'bool' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      errors: ['OPERATION_PARTIALLY_FAILED'],
    },
    clean_shutdown: {
      params: [{ name: 'self', type: 'ref:VM_appliance' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      errors: ['OPERATION_PARTIALLY_FAILED'],
    },
    hard_shutdown: {
      params: [{ name: 'self', type: 'ref:VM_appliance' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      errors: ['OPERATION_PARTIALLY_FAILED'],
    },
    shutdown: {
      params: [{ name: 'self', type: 'ref:VM_appliance' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      errors: ['OPERATION_PARTIALLY_FAILED'],
    },
    assert_can_be_recovered: {
      params: [
        { name: 'self', type: 'ref:VM_appliance' },
        { name: 'session_to', type: 'ref:session' },
      ],
      result: 'void',
      roles: 'read-only',
      async: true,
      errors: ['VM_REQUIRES_SR'],
    },
    get_SRs_required_for_recovery: {
      params: [
        { name: 'self', type: 'ref:VM_appliance' },
        { name: 'session_to', type: 'ref:session' },
      ],
      result: 'set(ref:SR)',
      roles: 'read-only',
      async: true,
    },
    recover: {
      params: [
        { name: 'self', type: 'ref:VM_appliance' },
        { name: 'session_to', type: 'ref:session' },
        { name: 'force', type: 'bool' },
      ],
      result: 'void',
      roles: 'read-only',
      async: true,
      errors: ['VM_REQUIRES_SR'],
    },
  },
} as const satisfies ClassModel;
