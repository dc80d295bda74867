import type { ClassModel } from '../vocabulary.js';

export const crashdump = {
  name: 'crashdump',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    VM: { type: 'ref:VM', qualifier: 'RO/constructor' },
    VDI: { type: 'ref:VDI', qualifier: 'RO/constructor' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
  },
  messages: {
    destroy: { params: [{ name: 'self', type: 'ref:crashdump' }], result: 'void', roles: 'pool-operator', async: true },
  },
} as const satisfies ClassModel;
