import type { ClassModel } from '../vocabulary.js';

export const GPU_group = {
  name: 'GPU_group',
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
    PGPUs: { type: 'set(ref:PGPU)', qualifier: 'RO/runtime' },
    VGPUs: { type: 'set(ref:VGPU)', qualifier: 'RO/runtime' },
    GPU_types: { type: 'set(string)', qualifier: 'RO/runtime', default: [] },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
    allocation_algorithm: {
      type: 'enum:allocation_algorithm',
      qualifier: 'RW',
      default: 'depth_first',
      writers: 'pool-operator',
    },
    supported_VGPU_types: { type: 'set(ref:VGPU_type)', qualifier: 'RO/runtime' },
    enabled_VGPU_types: { type: 'set(ref:VGPU_type)', qualifier: 'RO/runtime' },
  },
  messages: {
    create: {
      params: [
        { name: 'name_label', type: 'string', default: '' },
        { name: 'name_description', type: 'string', default: '' },
        { name: 'other_config', type: 'map(string,string)', default: {} },
      ],
      result: 'ref:GPU_group',
      roles: 'pool-operator',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:GPU_group' }], result: 'void', roles: 'pool-operator', async: true },
    update_enabled_VGPU_types: {
      params: [{ name: 'self', type: 'ref:GPU_group' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      hidden: true,
    },
    update_supported_VGPU_types: {
      params: [{ name: 'self', type: 'ref:GPU_group' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      hidden: true,
    },
    get_remaining_capacity: {
      params: [
        { name: 'self', type: 'ref:GPU_group' },
        { name: 'vgpu_type', type: 'ref:VGPU_type' },
      ],
      result: 'int',
      roles: 'read-only',
      async: true,
    },
  },
} as const satisfies ClassModel;
