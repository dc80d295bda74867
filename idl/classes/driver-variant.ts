import type { ClassModel } from '../vocabulary.js';

export const Driver_variant = {
  name: 'Driver_variant',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    name: { type: 'string', qualifier: 'RO/runtime' },
    driver: { type: 'ref:Host_driver', qualifier: 'RO/runtime' },
    version: { type: 'string', qualifier: 'RO/runtime' },
    hardware_present: { type: 'bool', qualifier: 'RO/runtime' },
    priority: { type: 'float', qualifier: 'RO/runtime' },
    status: { type: 'string', qualifier: 'RO/runtime' },
  },
  messages: {
    select: {
      params: [{ name: 'self', type: 'ref:Driver_variant' }],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
  },
} as const satisfies ClassModel;
