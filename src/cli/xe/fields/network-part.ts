/** Bonds, VLANs, tunnels and what else networks are made of, as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const bond: XeClass = {
  command: 'bond',
  class: 'Bond',
  columns: ['uuid', 'master', 'slaves'],
  fields: {
    uuid: 'RO',
    master: 'RO',
    slaves: 'RO',
    mode: 'RO',
    properties: { kind: 'MRO', setKey: 'set_property' },
    'primary-slave': 'RO',
    'links-up': 'RO',
    'auto-update-mac': 'RO',
  },
};

export const vlan: XeClass = {
  command: 'vlan',
  class: 'VLAN',
  columns: ['uuid', 'tagged-PIF', 'untagged-PIF', 'tag'],
  fields: {
    uuid: 'RO',
    'tagged-PIF': 'RO',
    'untagged-PIF': 'RO',
    tag: 'RO',
  },
};

export const tunnel: XeClass = {
  command: 'tunnel',
  class: 'tunnel',
  columns: ['uuid', 'transport-PIF', 'access-PIF', 'status'],
  fields: {
    uuid: 'RO',
    'access-PIF': 'RO',
    'transport-PIF': 'RO',
    status: 'RO',
    'other-config': 'MRW',
    protocol: 'RO',
  },
};

export const networkSriov: XeClass = {
  command: 'network-sriov',
  class: 'network_sriov',
  columns: ['uuid', 'requires-reboot'],
  fields: {
    uuid: 'RO',
    'physical-PIF': 'RO',
    'logical-PIF': 'RO',
    'requires-reboot': 'RO',
    'remaining-capacity': {
      kind: 'RO',
      call: 'network_sriov.get_remaining_capacity',
      none: '<unknown>',
      expensive: true,
    },
  },
};

export const sdnController: XeClass = {
  command: 'sdn-controller',
  class: 'SDN_controller',
  columns: ['uuid', 'protocol', 'address', 'port'],
  fields: {
    uuid: 'RO',
    protocol: 'RO',
    address: 'RO',
    port: 'RO',
  },
};
