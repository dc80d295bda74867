import type { ClassModel } from '../vocabulary.js';

export const Caller = {
  name: 'Caller',
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
    name_label: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-admin' },
    name_description: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-admin' },
    user_agent: { type: 'string', qualifier: 'RO/constructor', default: '' },
    client_ip: { type: 'string', qualifier: 'RO/constructor', default: '' },
    last_access: { type: 'datetime', qualifier: 'RO/runtime', default: '19700101T00:00:00Z' },
    groups: { type: 'set(string)', qualifier: 'RO/runtime', default: [] },
    rate_limit: { type: 'ref:Rate_limit', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
    auto_registered: { type: 'bool', qualifier: 'RO/runtime', default: false },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:Caller' }],
      result: 'ref:Caller',
      roles: 'pool-admin',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:Caller' }], result: 'void', roles: 'pool-admin', async: true },
    add_group: {
      params: [
        { name: 'self', type: 'ref:Caller' },
        { name: 'group', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    remove_group: {
      params: [
        { name: 'self', type: 'ref:Caller' },
        { name: 'group', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    query_token_usage: {
      params: [{ name: 'self', type: 'ref:Caller' }],
      result: 'float',
      roles: 'pool-operator',
      async: true,
    },
    query_call_count: {
      params: [{ name: 'self', type: 'ref:Caller' }],
      result: 'int',
      roles: 'pool-operator',
      async: true,
    },
    query_group_token_usage: {
      params: [{ name: 'group', type: 'string' }],
      result: 'float',
      roles: 'pool-operator',
      async: true,
    },
    query_group_call_count: {
      params: [{ name: 'group', type: 'string' }],
      result: 'int',
      roles: 'pool-operator',
      async: true,
    },
    query_all_usage: { params: [], result: 'set(set(string))', roles: 'pool-operator', async: true },
  },
} as const satisfies ClassModel;
