import type { ClassModel } from '../vocabulary.js';

export const VUSB = {
  name: 'VUSB',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    allowed_operations: { type: 'set(enum:vusb_operations)', qualifier: 'RO/runtime', default: [] },
    current_operations: { type: 'map(string,enum:vusb_operations)', qualifier: 'RO/runtime', default: {} },
    VM: { type: 'ref:VM', qualifier: 'RO/runtime' },
    USB_group: { type: 'ref:USB_group', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-admin' },
    currently_attached: { type: 'bool', qualifier: 'RO/runtime', default: false },
  },
  messages: {
    create: {
      params: [
        { name: 'VM', type: 'ref:VM' },
        { name: 'USB_group', type: 'ref:USB_group' },
        { name: 'other_config', type: 'map(string,string)', default: {} },
      ],
      result: 'ref:VUSB',
      roles: 'pool-admin',
      async: true,
    },
    unplug: { params: [{ name: 'self', type: 'ref:VUSB' }], result: 'void', roles: 'pool-admin', async: true },
    destroy: { params: [{ name: 'self', type: 'ref:VUSB' }], result: 'void', roles: 'pool-admin', async: true },
  },
} as const satisfies ClassModel;
