import type { ClassModel } from '../vocabulary.js';

export const console = {
  name: 'console',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    protocol: { type: 'enum:console_protocol', qualifier: 'RO/runtime' },
    location: { type: 'string', qualifier: 'RO/runtime' },
    VM: { type: 'ref:VM', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', writers: 'vm-admin' },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:console' }],
      result: 'ref:console',
      roles: 'vm-admin',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:console' }], result: 'void', roles: 'vm-admin', async: true },
  },
} as const satisfies ClassModel;
