import type { ClassModel } from '../vocabulary.js';

export const VM_metrics = {
  name: 'VM_metrics',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    memory_actual: { type: 'int', qualifier: 'RO/runtime' },
    VCPUs_number: { type: 'int', qualifier: 'RO/runtime' },
    VCPUs_utilisation: { type: 'map(int,float)', qualifier: 'RO/runtime', default: {}, removed: true },
    VCPUs_CPU: { type: 'map(int,int)', qualifier: 'RO/runtime' },
    VCPUs_params: { type: 'map(string,string)', qualifier: 'RO/runtime' },
    VCPUs_flags: { type: 'map(int,set(string))', qualifier: 'RO/runtime' },
    state: { type: 'set(string)', qualifier: 'RO/runtime' },
    start_time: { type: 'datetime', qualifier: 'RO/runtime' },
    install_time: { type: 'datetime', qualifier: 'RO/runtime' },
    last_updated: { type: 'datetime', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'vm-admin' },
    hvm: { type: 'bool', qualifier: 'RO/runtime', default: false },
    nested_virt: { type: 'bool', qualifier: 'RO/runtime', default: false },
    nomigrate: { type: 'bool', qualifier: 'RO/runtime', default: false },
    current_domain_type: { type: 'enum:domain_type', qualifier: 'RO/runtime', default: 'unspecified' },
    numa_optimised: { type: 'bool', qualifier: 'RO/constructor', default: false },
    numa_nodes: { type: 'int', qualifier: 'RO/constructor', default: 0 },
    numa_node_memory: { type: 'map(int,int)', qualifier: 'RO/runtime', default: {} },
  },
  messages: {
  },
} as const satisfies ClassModel;
