import type { ClassModel } from '../vocabulary.js';

export const PCI = {
  name: 'PCI',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    class_id: { type: 'string', qualifier: 'RO/constructor', default: '' },
    class_name: { type: 'string', qualifier: 'RO/constructor', default: '' },
    vendor_id: { type: 'string', qualifier: 'RO/constructor', default: '' },
    vendor_name: { type: 'string', qualifier: 'RO/constructor', default: '' },
    device_id: { type: 'string', qualifier: 'RO/constructor', default: '' },
    device_name: { type: 'string', qualifier: 'RO/constructor', default: '' },
    host: { type: 'ref:host', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    pci_id: { type: 'string', qualifier: 'RO/constructor', default: '' },
    dependencies: { type: 'set(ref:PCI)', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
    subsystem_vendor_id: { type: 'string', qualifier: 'RO/constructor', default: '' },
    subsystem_vendor_name: { type: 'string', qualifier: 'RO/constructor', default: '' },
    subsystem_device_id: { type: 'string', qualifier: 'RO/constructor', default: '' },
    subsystem_device_name: { type: 'string', qualifier: 'RO/constructor', default: '' },
    driver_name: { type: 'string', qualifier: 'RO/constructor', default: '' },
  },
  messages: {
    disable_dom0_access: {
      params: [{ name: 'self', type: 'ref:PCI' }],
      result: 'enum:pci_dom0_access',
      roles: 'pool-operator',
      async: true,
    },
    enable_dom0_access: {
      params: [{ name: 'self', type: 'ref:PCI' }],
      result: 'enum:pci_dom0_access',
      roles: 'pool-operator',
      async: true,
    },
    get_dom0_access_status: {
      params: [{ name: 'self', type: 'ref:PCI' }],
      result: 'enum:pci_dom0_access',
      roles: 'pool-operator',
      async: true,
    },
  },
} as const satisfies ClassModel;
