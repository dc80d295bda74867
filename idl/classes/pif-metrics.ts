import type { ClassModel } from '../vocabulary.js';

export const PIF_metrics = {
  name: 'PIF_metrics',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    io_read_kbs: { type: 'float', qualifier: 'RO/runtime', default: 0.0, removed: true },
    io_write_kbs: { type: 'float', qualifier: 'RO/runtime', default: 0.0, removed: true },
    carrier: { type: 'bool', qualifier: 'RO/runtime' },
    vendor_id: { type: 'string', qualifier: 'RO/runtime' },
    vendor_name: { type: 'string', qualifier: 'RO/runtime' },
    device_id: { type: 'string', qualifier: 'RO/runtime' },
    device_name: { type: 'string', qualifier: 'RO/runtime' },
    speed: { type: 'int', qualifier: 'RO/runtime' },
    duplex: { type: 'bool', qualifier: 'RO/runtime' },
    pci_bus_path: { type: 'string', qualifier: 'RO/runtime' },
    last_updated: { type: 'datetime', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
  },
  messages: {},
} as const satisfies ClassModel;
