import type { ClassModel } from '../vocabulary.js';

export const user = {
  name: 'user',
  inDatabase: true,
  events: false,
  generic: ['get_record', 'get_by_uuid'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    short_name: { type: 'string', qualifier: 'RO/constructor' },
    fullname: { type: 'string', qualifier: 'RW', writers: 'pool-admin' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-admin' },
  },
  messages: {
    create: { params: [{ name: 'args', type: 'record:user' }], result: 'ref:user', roles: 'pool-admin', async: true },
    destroy: { params: [{ name: 'self', type: 'ref:user' }], result: 'void', roles: 'pool-admin', async: true },
  },
} as const satisfies ClassModel;
