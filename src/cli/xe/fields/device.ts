/** Consoles, and PCI, USB and TPM devices, as xe shows them. */
import type { XeClass } from './vocabulary.js';

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

export const pci: XeClass = {
  command: 'pci',
  class: 'PCI',
  columns: ['uuid', 'vendor-name', 'device-name', 'pci-id'],
  fields: {
    uuid: 'RO',
    'vendor-name': 'RO',
    'device-name': 'RO',
    'driver-name': 'RO',
    'host-uuid': { kind: 'RO', from: 'host' },
    'host-name-label': { kind: 'RO', from: 'host.name_label' },
    'pci-id': 'RO',
    dependencies: { kind: 'SRO', from: 'dependencies.pci_id' },
    'other-config': 'MRW',
  },
};

export const pusb: XeClass = {
  command: 'pusb',
  class: 'PUSB',
  columns: [
    'uuid',
    'path',
    'product-id',
    'product-desc',
    'vendor-id',
    'vendor-desc',
    'serial',
    'version',
    'description',
    'speed',
  ],
  fields: {
    uuid: 'RO',
    'usb-group-uuid': { kind: 'RO', from: 'USB_group' },
    'host-uuid': { kind: 'RO', from: 'host' },
    'host-name-label': { kind: 'RO', from: 'host.name_label' },
    path: 'RO',
    'vendor-id': 'RO',
    'vendor-desc': 'RO',
    'product-id': 'RO',
    'product-desc': 'RO',
    serial: 'RO',
    version: 'RO',
    description: 'RO',
    speed: 'RO',
    'passthrough-enabled': 'RW',
  },
};

export const usbGroup: XeClass = {
  command: 'usb-group',
  class: 'USB_group',
  columns: ['uuid', 'name-label', 'name-description'],
  fields: {
    uuid: 'RO',
    'name-label': 'RW',
    'name-description': 'RW',
    'VUSB-uuids': { kind: 'SRO', from: 'VUSBs' },
    'PUSB-uuids': { kind: 'SRO', from: 'PUSBs' },
    'other-config': 'MRW',
  },
};

export const vusb: XeClass = {
  command: 'vusb',
  class: 'VUSB',
  columns: ['uuid', 'vm-uuid', 'usb-group-uuid'],
  fields: {
    uuid: 'RO',
    'vm-uuid': { kind: 'RO', from: 'VM' },
    'vm-name-label': { kind: 'RO', from: 'VM.name_label' },
    'usb-group-uuid': { kind: 'RO', from: 'USB_group' },
    'usb-group-name-label': { kind: 'RO', from: 'USB_group.name_label' },
    'other-config': 'MRW',
    'currently-attached': 'RO',
    'allowed-operations': 'SRO',
    'current-operations': 'SRO',
  },
};

export const vtpm: XeClass = {
  command: 'vtpm',
  class: 'VTPM',
  columns: ['uuid', 'vm-uuid'],
  fields: {
    uuid: 'RO',
    'vm-uuid': { kind: 'RO', from: 'VM' },
    'vm-name-label': { kind: 'RO', from: 'VM.name_label' },
    secret: { kind: 'RO', none: '' },
    is_unique: 'RO',
    is_protected: 'RO',
    'allowed-operations': 'SRO',
  },
};
