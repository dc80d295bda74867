import type { ClassModel } from '../vocabulary.js';

export const Rate_limit = {
  name: 'Rate_limit',
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
    callers: { type: 'set(ref:Caller)', qualifier: 'RO/runtime' },
    burst_size: { type: 'float', qualifier: 'RO/constructor', default: 0.0 },
    fill_rate: { type: 'float', qualifier: 'RO/constructor', default: 0.0 },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:Rate_limit' }],
      result: 'ref:Rate_limit',
      roles: 'pool-admin',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:Rate_limit' }], result: 'void', roles: 'pool-admin', async: true },
    add_caller: {
      params: [
        { name: 'self', type: 'ref:Rate_limit' },
        { name: 'caller', type: 'ref:Caller' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
    remove_caller: {
      params: [
        { name: 'self', type: 'ref:Rate_limit' },
        { name: 'caller', type: 'ref:Caller' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
    set_burst_size: {
      params: [
        { name: 'self', type: 'ref:Rate_limit' },
        { name: 'value', type: 'float' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
    set_fill_rate: {
      params: [
        { name: 'self', type: 'ref:Rate_limit' },
        { name: 'value', type: 'float' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
  },
} as const satisfies ClassModel;
