/** Virtual GPUs and consoles as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const vgpu: XeClass = {
  command: 'vgpu',
  class: 'VGPU',
  columns: ['uuid', 'vm-uuid', 'device', 'gpu-group-uuid'],
  fields: {
    uuid: 'RO',
    'vm-uuid': { kind: 'RO', from: 'VM' },
    'vm-name-label': { kind: 'RO', from: 'VM.name_label' },
    device: 'RO',
    'gpu-group-uuid': { kind: 'RO', from: 'GPU_group' },
    'gpu-group-name-label': { kind: 'RO', from: 'GPU_group.name_label' },
    'currently-attached': 'RO',
    'other-config': 'MRW',
    'type-uuid': { kind: 'RO', from: 'type' },
    'type-model-name': { kind: 'RO', from: 'type.model_name' },
    'resident-on': 'RO',
    'compatibility-metadata': 'RO',
    extra_args: 'RW',
    pci: { kind: 'RO', from: 'PCI.pci_id' },
  },
};

export const console: XeClass = {
  command: 'console',
  class: 'console',
  columns: ['uuid', 'vm-uuid', 'vm-name-label', 'protocol', 'location'],
  fields: {
    uuid: 'RO',
    'vm-uuid': { kind: 'RO', from: 'VM' },
    'vm-name-label': { kind: 'RO', from: 'VM.name_label' },
    protocol: 'RO',
    location: 'RO',
    'other-config': 'MRW',
  },
};
