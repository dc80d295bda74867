/** What groups VMs: appliances, schedules of snapshots, placement, recovery; and messages, as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const vmAppliance: XeClass = {
  command: 'appliance',
  class: 'VM_appliance',
  columns: 'all',
  fields: {
    uuid: 'RO',
    'name-label': 'RW',
    'name-description': 'RW',
    VMs: 'SRO',
    'allowed-operations': 'SRO',
    'current-operations': 'SRO',
  },
};

export const vmGroup: XeClass = {
  command: 'vm-group',
  class: 'VM_group',
  columns: ['uuid', 'name-label', 'name-description', 'placement', 'vm-uuids'],
  fields: {
    uuid: 'RO',
    'name-label': 'RW',
    'name-description': 'RW',
    placement: 'RO',
    'vm-uuids': { kind: 'SRO', from: 'VMs' },
  },
};

export const vmss: XeClass = {
  command: 'vmss',
  class: 'VMSS',
  columns: [
    'uuid',
    'name-label',
    'name-description',
    'enabled',
    'type',
    'retained-snapshots',
    'frequency',
    'schedule',
    'last-run-time',
    'VMs',
  ],
  fields: {
    uuid: 'RO',
    'name-label': 'RW',
    'name-description': 'RW',
    enabled: 'RW',
    type: 'RW',
    'retained-snapshots': 'RW',
    frequency: 'RW',
    schedule: 'MRW',
    'last-run-time': 'RO',
    VMs: { kind: 'SRO', expensive: true },
  },
};

export const drTask: XeClass = {
  command: 'drtask',
  class: 'DR_task',
  columns: 'all',
  fields: {
    uuid: 'RO',
    'introduced-SRs': 'RO',
  },
};

export const message: XeClass = {
  command: 'message',
  class: 'message',
  columns: 'all',
  fields: {
    uuid: 'RO',
    name: 'RO',
    priority: 'RO',
    class: { kind: 'RO', from: 'cls' },
    'obj-uuid': 'RO',
    timestamp: 'RO',
    body: 'RO',
  },
};
