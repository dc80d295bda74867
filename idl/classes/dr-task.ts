import type { ClassModel } from '../vocabulary.js';

export const DR_task = {
  name: 'DR_task',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    introduced_SRs: { type: 'set(ref:SR)', qualifier: 'RO/runtime' },
  },
  messages: {
    create: {
      params: [
        { name: 'type', type: 'string' },
        { name: 'device_config', type: 'map(string,string)' },
        { name: 'whitelist', type: 'set(string)' },
      ],
      result: 'ref:DR_task',
      roles: 'pool-operator',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:DR_task' }], result: 'void', roles: 'pool-operator', async: true },
  },
} as const satisfies ClassModel;
