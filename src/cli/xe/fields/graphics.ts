/** Physical and virtual GPUs as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const pgpu: XeClass = {
  command: 'pgpu',
  class: 'PGPU',
  columns: ['uuid', 'pci-uuid', 'vendor-name', 'device-name', 'gpu-group-uuid'],
  fields: {
    uuid: 'RO',
    'pci-uuid': { kind: 'RO', from: 'PCI' },
    'vendor-name': { kind: 'RO', from: 'PCI.vendor_name' },
    'device-name': { kind: 'RO', from: 'PCI.device_name' },
    'dom0-access': 'RO',
    'is-system-display-device': 'RO',
    'gpu-group-uuid': { kind: 'RW', from: 'GPU_group' },
    'gpu-group-name-label': { kind: 'RO', from: 'GPU_group.name_label' },
    'host-uuid': { kind: 'RO', from: 'host' },
    'host-name-label': { kind: 'RO', from: 'host.name_label' },
    'pci-id': { kind: 'RO', from: 'PCI.pci_id' },
    dependencies: { kind: 'SRO', from: 'PCI.dependencies.pci_id' },
    'other-config': 'MRW',
    'supported-VGPU-types': 'RO',
    'enabled-VGPU-types': 'SRW',
    'resident-VGPUs': 'RO',
  },
};

export const gpuGroup: XeClass = {
  command: 'gpu-group',
  class: 'GPU_group',
  columns: ['uuid', 'name-label', 'name-description'],
  fields: {
    uuid: 'RO',
    'name-label': 'RW',
    'name-description': 'RW',
    'VGPU-uuids': { kind: 'SRO', from: 'VGPUs' },
    'PGPU-uuids': { kind: 'SRO', from: 'PGPUs' },
    'other-config': 'MRW',
    'enabled-VGPU-types': 'RO',
    'supported-VGPU-types': 'RO',
    'allocation-algorithm': 'RW',
  },
};

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

export const vgpuType: XeClass = {
  command: 'vgpu-type',
  class: 'VGPU_type',
  columns: ['uuid', 'vendor-name', 'model-name', 'max-resolution', 'max-heads'],
  fields: {
    uuid: 'RO',
    'vendor-name': 'RO',
    'model-name': 'RO',
    'framebuffer-size': 'RO',
    'max-heads': 'RO',
    'max-resolution': {
      kind: 'RO',
      from: 'max_resolution_x',
      text: (_, record) => `${record.max_resolution_x}x${record.max_resolution_y}`,
    },
    'supported-on-PGPUs': 'RO',
    'enabled-on-PGPUs': 'RO',
    'supported-on-GPU-groups': 'RO',
    'enabled-on-GPU-groups': 'RO',
    'VGPU-uuids': { kind: 'RO', from: 'VGPUs' },
    experimental: 'RO',
    'compatible-types-in-vm': 'RO',
  },
};
