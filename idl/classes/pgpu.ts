import type { ClassModel } from '../vocabulary.js';

export const PGPU = {
  name: 'PGPU',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    PCI: { type: 'ref:PCI', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    GPU_group: { type: 'ref:GPU_group', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    host: { type: 'ref:host', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
    supported_VGPU_types: { type: 'set(ref:VGPU_type)', qualifier: 'RO/runtime' },
    enabled_VGPU_types: { type: 'set(ref:VGPU_type)', qualifier: 'RO/runtime' },
    resident_VGPUs: { type: 'set(ref:VGPU)', qualifier: 'RO/runtime' },
    supported_VGPU_max_capacities: { type: 'map(ref:VGPU_type,int)', qualifier: 'RO/runtime', default: {} },
    dom0_access: { type: 'enum:pci_dom0_access', qualifier: 'RO/runtime', default: 'enabled' },
    is_system_display_device: { type: 'bool', qualifier: 'RO/runtime', default: false },
    compatibility_metadata: { type: 'map(string,string)', qualifier: 'RO/runtime', default: {} },
  },
  messages: {
    add_enabled_VGPU_types: {
      params: [
        { name: 'self', type: 'ref:PGPU' },
        { name: 'value', type: 'ref:VGPU_type' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    remove_enabled_VGPU_types: {
      params: [
        { name: 'self', type: 'ref:PGPU' },
        { name: 'value', type: 'ref:VGPU_type' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    set_enabled_VGPU_types: {
      params: [
        { name: 'self', type: 'ref:PGPU' },
        { name: 'value', type: 'set(ref:VGPU_type)' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    set_GPU_group: {
      params: [
        { name: 'self', type: 'ref:PGPU' },
        { name: 'value', type: 'ref:GPU_group' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    get_remaining_capacity: {
      params: [
        { name: 'self', type: 'ref:PGPU' },
        { name: 'vgpu_type', type: 'ref:VGPU_type' },
      ],
      result: 'int',
      roles: 'read-only',
      async: true,
    },
    enable_dom0_access: {
      params: [{ name: 'self', type: 'ref:PGPU' }],
      result: 'enum:pci_dom0_access',
      roles: 'pool-operator',
      async: true,
    },
    disable_dom0_access: {
      params: [{ name: 'self', type: 'ref:PGPU' }],
      result: 'enum:pci_dom0_access',
      roles: 'pool-operator',
      async: true,
    },
  },
} as const satisfies ClassModel;
