import type { ClassModel } from '../vocabulary.js';

export const VMPP = {
  name: 'VMPP',
  removed: true,
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
    uuid: { type: 'string', qualifier: 'RO/runtime', removed: true },
    name_label: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-operator', removed: true },
    name_description: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-operator', removed: true },
    is_policy_enabled: { type: 'bool', qualifier: 'RW', default: true, writers: 'pool-operator', removed: true },
    backup_type: {
      type: 'enum:vmpp_backup_type',
      qualifier: 'RW',
      default: 'snapshot',
      writers: 'pool-operator',
      removed: true,
    },
    backup_retention_value: { type: 'int', qualifier: 'RO/constructor', default: 7, removed: true },
    backup_frequency: {
      type: 'enum:vmpp_backup_frequency',
      qualifier: 'RO/constructor',
      default: 'daily',
      removed: true,
    },
    backup_schedule: { type: 'map(string,string)', qualifier: 'RO/constructor', default: {}, removed: true },
    is_backup_running: { type: 'bool', qualifier: 'RO/runtime', removed: true },
    backup_last_run_time: { type: 'datetime', qualifier: 'RO/runtime', default: '19700101T00:00:00Z', removed: true },
    archive_target_type: {
      type: 'enum:vmpp_archive_target_type',
      qualifier: 'RO/constructor',
      default: 'none',
      removed: true,
    },
    archive_target_config: { type: 'map(string,string)', qualifier: 'RO/constructor', default: {}, removed: true },
    archive_frequency: {
      type: 'enum:vmpp_archive_frequency',
      qualifier: 'RO/constructor',
      default: 'never',
      removed: true,
    },
    archive_schedule: { type: 'map(string,string)', qualifier: 'RO/constructor', default: {}, removed: true },
    is_archive_running: { type: 'bool', qualifier: 'RO/runtime', removed: true },
    archive_last_run_time: { type: 'datetime', qualifier: 'RO/runtime', default: '19700101T00:00:00Z', removed: true },
    VMs: { type: 'set(ref:VM)', qualifier: 'RO/runtime', removed: true },
    is_alarm_enabled: { type: 'bool', qualifier: 'RO/constructor', default: false, removed: true },
    alarm_config: { type: 'map(string,string)', qualifier: 'RO/constructor', default: {}, removed: true },
    recent_alerts: { type: 'set(string)', qualifier: 'RO/runtime', default: [], removed: true },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:VMPP' }],
      result: 'ref:VMPP',
      roles: 'pool-operator',
      async: true,
      removed: true,
    },
    destroy: {
      params: [{ name: 'self', type: 'ref:VMPP' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      removed: true,
    },
    protect_now: {
      params: [{ name: 'vmpp', type: 'ref:VMPP' }],
      result: 'string',
      roles: 'pool-operator',
      removed: true,
    },
    archive_now: {
      params: [{ name: 'snapshot', type: 'ref:VM' }],
      result: 'string',
      roles: 'vm-power-admin',
      removed: true,
    },
    create_alert: {
      params: [
        { name: 'vmpp', type: 'ref:VMPP' },
        { name: 'name', type: 'string' },
        { name: 'priority', type: 'int' },
        { name: 'body', type: 'string' },
        { name: 'data', type: 'string' },
      ],
      result: 'void',
      roles: 'local-root',
      hidden: true,
      removed: true,
    },
    get_alerts: {
      params: [
        { name: 'vmpp', type: 'ref:VMPP' },
        { name: 'hours_from_now', type: 'int' },
      ],
      result: 'set(string)',
      roles: 'pool-operator',
      removed: true,
    },
    set_backup_retention_value: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'int' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    set_is_backup_running: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'bool' },
      ],
      result: 'void',
      roles: 'local-root',
      hidden: true,
      removed: true,
    },
    set_is_archive_running: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'bool' },
      ],
      result: 'void',
      roles: 'local-root',
      hidden: true,
      removed: true,
    },
    set_backup_frequency: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'enum:vmpp_backup_frequency' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    set_backup_schedule: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'map(string,string)' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    set_archive_frequency: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'enum:vmpp_archive_frequency' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    set_archive_schedule: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'map(string,string)' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    set_archive_target_type: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'enum:vmpp_archive_target_type' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    set_archive_target_config: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'map(string,string)' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    set_is_alarm_enabled: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'bool' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    set_alarm_config: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'map(string,string)' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    add_to_backup_schedule: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'key', type: 'string' },
        { name: 'value', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    add_to_archive_target_config: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'key', type: 'string' },
        { name: 'value', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    add_to_archive_schedule: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'key', type: 'string' },
        { name: 'value', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    add_to_alarm_config: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'key', type: 'string' },
        { name: 'value', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    remove_from_backup_schedule: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'key', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    remove_from_archive_target_config: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'key', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    remove_from_archive_schedule: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'key', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    remove_from_alarm_config: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'key', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      removed: true,
    },
    set_backup_last_run_time: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'datetime' },
      ],
      result: 'void',
      roles: 'local-root',
      removed: true,
    },
    set_archive_last_run_time: {
      params: [
        { name: 'self', type: 'ref:VMPP' },
        { name: 'value', type: 'datetime' },
      ],
      result: 'void',
      roles: 'local-root',
      removed: true,
    },
  },
} as const satisfies ClassModel;
