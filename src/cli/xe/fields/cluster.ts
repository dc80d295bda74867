/** Clusters as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const cluster: XeClass = {
  command: 'cluster',
  class: 'Cluster',
  columns: [
    'uuid',
    'cluster-hosts',
    'cluster-token',
    'cluster-stack',
    'allowed-operations',
    'current-operations',
    'pool-auto-join',
    'cluster-config',
    'other-config',
  ],
  fields: {
    uuid: 'RO',
    'cluster-hosts': 'SRO',
    'cluster-token': 'RO',
    'cluster-stack': 'RO',
    'cluster-stack-version': 'RO',
    'token-timeout': 'RO',
    'token-timeout-coefficient': 'RO',
    'pending-forget': { kind: 'SRO', hidden: true },
    'allowed-operations': 'SRO',
    'current-operations': 'SRO',
    'pool-auto-join': 'RO',
    'cluster-config': 'MRO',
    'other-config': 'MRW',
    'is-quorate': 'RO',
    quorum: 'RO',
    'live-hosts': 'RO',
    'expected-hosts': 'RO',
  },
};

export const clusterHost: XeClass = {
  command: 'cluster-host',
  class: 'Cluster_host',
  columns: ['uuid', 'cluster', 'enabled', 'allowed-operations', 'current-operations', 'other-config'],
  fields: {
    uuid: 'RO',
    cluster: 'RO',
    PIF: 'RO',
    host: 'RO',
    enabled: 'RO',
    joined: 'RO',
    live: 'RO',
    'last-update-live': 'RO',
    'allowed-operations': 'SRO',
    'current-operations': 'SRO',
    'other-config': 'MRO',
  },
};
