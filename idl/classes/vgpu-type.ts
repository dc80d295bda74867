import type { ClassModel } from '../vocabulary.js';

export const VGPU_type = {
  name: 'VGPU_type',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    vendor_name: { type: 'string', qualifier: 'RO/constructor', default: '' },
    model_name: { type: 'string', qualifier: 'RO/constructor', default: '' },
    framebuffer_size: { type: 'int', qualifier: 'RO/constructor', default: 0 },
    max_heads: { type: 'int', qualifier: 'RO/constructor', default: 0 },
    max_resolution_x: { type: 'int', qualifier: 'RO/constructor', default: 0 },
    max_resolution_y: { type: 'int', qualifier: 'RO/constructor', default: 0 },
    supported_on_PGPUs: { type: 'set(ref:PGPU)', qualifier: 'RO/runtime' },
    enabled_on_PGPUs: { type: 'set(ref:PGPU)', qualifier: 'RO/runtime' },
    VGPUs: { type: 'set(ref:VGPU)', qualifier: 'RO/runtime' },
    supported_on_GPU_groups: { type: 'set(ref:GPU_group)', qualifier: 'RO/runtime' },
    enabled_on_GPU_groups: { type: 'set(ref:GPU_group)', qualifier: 'RO/runtime' },
    implementation: { type: 'enum:vgpu_type_implementation', qualifier: 'RO/constructor', default: 'passthrough' },
    identifier: { type: 'string', qualifier: 'RO/constructor', default: '' },
    experimental: { type: 'bool', qualifier: 'RO/constructor', default: false },
    compatible_types_in_vm: { type: 'set(ref:VGPU_type)', qualifier: 'RO/runtime', default: [] },
  },
  messages: {},
} as const satisfies ClassModel;
