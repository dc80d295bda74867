import type { ClassModel } from '../vocabulary.js';

export const VM_guest_metrics = {
  name: 'VM_guest_metrics',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    os_version: { type: 'map(string,string)', qualifier: 'RO/runtime' },
    netbios_name: { type: 'map(string,string)', qualifier: 'RO/runtime', default: {} },
    PV_drivers_version: { type: 'map(string,string)', qualifier: 'RO/runtime' },
    PV_drivers_up_to_date: { type: 'bool', qualifier: 'RO/runtime' },
    memory: { type: 'map(string,string)', qualifier: 'RO/runtime', default: {}, removed: true },
    disks: { type: 'map(string,string)', qualifier: 'RO/runtime', default: {}, removed: true },
    networks: { type: 'map(string,string)', qualifier: 'RO/runtime' },
    other: { type: 'map(string,string)', qualifier: 'RO/runtime' },
    last_updated: { type: 'datetime', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'vm-admin' },
    live: { type: 'bool', qualifier: 'RO/runtime', default: false },
    can_use_hotplug_vbd: { type: 'enum:tristate_type', qualifier: 'RO/runtime', default: 'unspecified' },
    can_use_hotplug_vif: { type: 'enum:tristate_type', qualifier: 'RO/runtime', default: 'unspecified' },
    PV_drivers_detected: { type: 'bool', qualifier: 'RO/runtime', default: false },
    services: { type: 'map(string,string)', qualifier: 'RO/runtime', default: {} },
  },
  messages: {},
} as const satisfies ClassModel;
