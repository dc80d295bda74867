/** Storage drivers and crash dumps of VMs, as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const crashdump: XeClass = {
  command: 'crashdump',
  class: 'crashdump',
  columns: 'all',
  fields: {
    uuid: 'RO',
    'vm-uuid': { kind: 'RO', from: 'VM' },
    'vm-name-label': { kind: 'RO', from: 'VM.name_label' },
    'vdi-uuid': { kind: 'RO', from: 'VDI' },
  },
};

export const sm: XeClass = {
  command: 'sm',
  class: 'SM',
  columns: ['uuid', 'type', 'name-label', 'name-description', 'vendor', 'copyright', 'configuration'],
  fields: {
    uuid: 'RO',
    'name-label': 'RO',
    'name-description': 'RO',
    type: 'RO',
    vendor: 'RO',
    copyright: 'RO',
    'required-api-version': 'RO',
    capabilities: { kind: 'RO', deprecated: true },
    features: 'MRO',
    configuration: 'RO',
    'driver-filename': 'RO',
    'required-cluster-stack': 'RO',
    'supported-image-formats': 'RO',
  },
};
