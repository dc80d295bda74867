import type { ClassModel } from '../vocabulary.js';

export const VGPU = {
  name: 'VGPU',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    VM: { type: 'ref:VM', qualifier: 'RO/runtime' },
    GPU_group: { type: 'ref:GPU_group', qualifier: 'RO/runtime' },
    device: { type: 'string', qualifier: 'RO/runtime', default: '0' },
    currently_attached: { type: 'bool', qualifier: 'RO/runtime', default: false },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
    type: { type: 'ref:VGPU_type', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
    resident_on: { type: 'ref:PGPU', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
    scheduled_to_be_resident_on: { type: 'ref:PGPU', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
    compatibility_metadata: { type: 'map(string,string)', qualifier: 'RO/runtime', default: {} },
    extra_args: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-operator' },
    PCI: { type: 'ref:PCI', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
  },
  messages: {
    create: {
      doc: 'Create a virtual GPU on a halted VM.',
      params: [
        { name: 'VM', type: 'ref:VM' },
        { name: 'GPU_group', type: 'ref:GPU_group' },
        { name: 'device', type: 'string', default: '0' },
        { name: 'other_config', type: 'map(string,string)', default: {} },
        { name: 'type', type: 'ref:VGPU_type', default: 'OpaqueRef:NULL' },
      ],
      result: 'ref:VGPU',
      roles: 'pool-operator',
      async: true,
    },
    destroy: {
      doc: 'Remove a virtual GPU.',
      params: [{ name: 'self', type: 'ref:VGPU' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    atomic_set_resident_on: {
      params: [
        { name: 'self', type: 'ref:VGPU' },
        { name: 'value', type: 'ref:PGPU' },
      ],
      result: 'void',
      roles: 'local-root',
      async: true,
      hidden: true,
      poolInternal: true,
    },
  },
} as const satisfies ClassModel;
