import type { ClassModel } from '../vocabulary.js';

export const SDN_controller = {
  name: 'SDN_controller',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    protocol: { type: 'enum:sdn_controller_protocol', qualifier: 'RO/constructor', default: 'ssl' },
    address: { type: 'string', qualifier: 'RO/constructor', default: '' },
    port: { type: 'int', qualifier: 'RO/constructor', default: 0 },
  },
  messages: {
    introduce: {
      params: [
        { name: 'protocol', type: 'enum:sdn_controller_protocol', default: 'ssl' },
        { name: 'address', type: 'string', default: '' },
        { name: 'port', type: 'int', default: 0 },
      ],
      result: 'ref:SDN_controller',
      roles: 'pool-operator',
      async: true,
    },
    forget: {
      params: [{ name: 'self', type: 'ref:SDN_controller' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
  },
} as const satisfies ClassModel;
