import type { ClassModel } from '../vocabulary.js';

export const Cluster_host = {
  name: 'Cluster_host',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    cluster: { type: 'ref:Cluster', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    host: { type: 'ref:host', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    enabled: { type: 'bool', qualifier: 'RO/runtime', default: false },
    PIF: { type: 'ref:PIF', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    joined: { type: 'bool', qualifier: 'RO/runtime', default: true },
    live: { type: 'bool', qualifier: 'RO/runtime', default: false },
    last_update_live: { type: 'datetime', qualifier: 'RO/runtime', default: '19700101T00:00:00Z' },
    allowed_operations: { type: 'set(enum:cluster_host_operation)', qualifier: 'RO/runtime', default: [] },
    current_operations: { type: 'map(string,enum:cluster_host_operation)', qualifier: 'RO/runtime', default: {} },
    other_config: { type: 'map(string,string)', qualifier: 'RO/constructor', default: {} },
  },
  messages: {
    create: {
      params: [
        { name: 'cluster', type: 'ref:Cluster' },
        { name: 'host', type: 'ref:host' },
        { name: 'pif', type: 'ref:PIF' },
      ],
      result: 'ref:Cluster_host',
      roles: 'pool-operator',
      async: true,
      errors: ['NO_CLUSTER_HOSTS_REACHABLE', 'PIF_NOT_ATTACHED_TO_HOST'],
    },
    destroy: {
      params: [{ name: 'self', type: 'ref:Cluster_host' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      errors: ['CLUSTERING_DISABLED', 'CLUSTER_HOST_IS_LAST', 'CLUSTER_STACK_IN_USE'],
    },
    enable: {
      params: [{ name: 'self', type: 'ref:Cluster_host' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      errors: ['PIF_ALLOWS_UNPLUG', 'REQUIRED_PIF_IS_UNPLUGGED'],
    },
    force_destroy: {
      params: [{ name: 'self', type: 'ref:Cluster_host' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      errors: ['CLUSTER_STACK_IN_USE'],
    },
    forget: {
      params: [{ name: 'self', type: 'ref:Cluster_host' }],
      result: 'void',
      roles: 'local-root',
      async: true,
      hidden: true,
    },
    disable: {
      params: [{ name: 'self', type: 'ref:Cluster_host' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      errors: ['CLUSTER_STACK_IN_USE'],
    },
  },
} as const satisfies ClassModel;
