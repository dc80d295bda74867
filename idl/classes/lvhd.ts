import type { ClassModel } from '../vocabulary.js';

export const LVHD = {
  name: 'LVHD',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
  },
  messages: {
    enable_thin_provisioning: {
      params: [
        { name: 'host', type: 'ref:host' },
        { name: 'SR', type: 'ref:SR' },
        { name: 'initial_allocation', type: 'int' },
        { name: 'allocation_quantum', type: 'int' },
      ],
      result: 'string',
      roles: 'pool-admin',
      async: true,
    },
  },
} as const satisfies ClassModel;
