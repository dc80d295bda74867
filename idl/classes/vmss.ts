import type { ClassModel } from '../vocabulary.js';

export const VMSS = {
  name: 'VMSS',
  inDatabase: true,
  events: true,
  generic: [
    'get_record',
    'get_by_uuid',
    'get_by_name_label',
    'get_all',
    'get_all_where',
    'get_all_records_where',
    'get_all_records',
  ],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    name_label: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-operator' },
    name_description: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-operator' },
    enabled: { type: 'bool', qualifier: 'RW', default: true, writers: 'pool-operator' },
    type: { type: 'enum:vmss_type', qualifier: 'RO/constructor' },
    retained_snapshots: { type: 'int', qualifier: 'RO/constructor', default: 7 },
    frequency: { type: 'enum:vmss_frequency', qualifier: 'RO/constructor' },
    schedule: { type: 'map(string,string)', qualifier: 'RO/constructor', default: {} },
    last_run_time: { type: 'datetime', qualifier: 'RO/runtime', default: '19700101T00:00:00Z' },
    VMs: { type: 'set(ref:VM)', qualifier: 'RO/runtime' },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:VMSS' }],
      result: 'ref:VMSS',
      roles: 'pool-operator',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:VMSS' }], result: 'void', roles: 'pool-operator', async: true },
    snapshot_now: { params: [{ name: 'vmss', type: 'ref:VMSS' }], result: 'string', roles: 'pool-operator' },
    set_retained_snapshots: {
      params: [
        { name: 'self', type: 'ref:VMSS' },
        { name: 'value', type: 'int' },
      ],
      result: 'void',
      roles: 'pool-operator',
    },
    set_frequency: {
      params: [
        { name: 'self', type: 'ref:VMSS' },
        { name: 'value', type: 'enum:vmss_frequency' },
      ],
      result: 'void',
      roles: 'pool-operator',
    },
    set_schedule: {
      params: [
        { name: 'self', type: 'ref:VMSS' },
        { name: 'value', type: 'map(string,string)' },
      ],
      result: 'void',
      roles: 'pool-operator',
    },
    add_to_schedule: {
      params: [
        { name: 'self', type: 'ref:VMSS' },
        { name: 'key', type: 'string' },
        { name: 'value', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
    },
    remove_from_schedule: {
      params: [
        { name: 'self', type: 'ref:VMSS' },
        { name: 'key', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
    },
    set_last_run_time: {
      params: [
        { name: 'self', type: 'ref:VMSS' },
        { name: 'value', type: 'datetime' },
      ],
      result: 'void',
      roles: 'local-root',
    },
    set_type: {
      params: [
        { name: 'self', type: 'ref:VMSS' },
        { name: 'value', type: 'enum:vmss_type' },
      ],
      result: 'void',
      roles: 'pool-operator',
    },
  },
} as const satisfies ClassModel;
