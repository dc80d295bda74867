import type { ClassModel } from '../vocabulary.js';

export const secret = {
  name: 'secret',
  inDatabase: true,
  events: false,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  readers: 'pool-operator',
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    value: { type: 'string', qualifier: 'RW', writers: 'pool-operator' },
    other_config: {
      type: 'map(string,string)',
      qualifier: 'RW',
      readers: 'read-only',
      default: {},
      writers: 'pool-operator',
    },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:secret' }],
      result: 'ref:secret',
      roles: 'pool-operator',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:secret' }], result: 'void', roles: 'pool-operator', async: true },
    introduce: {
      params: [
        { name: 'uuid', type: 'string' },
        { name: 'value', type: 'string' },
        { name: 'other_config', type: 'map(string,string)', default: {} },
      ],
      result: 'ref:secret',
      roles: 'pool-operator',
      hidden: true,
    },
  },
} as const satisfies ClassModel;
