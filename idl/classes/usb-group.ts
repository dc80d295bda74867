import type { ClassModel } from '../vocabulary.js';

export const USB_group = {
  name: 'USB_group',
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
    PUSBs: { type: 'set(ref:PUSB)', qualifier: 'RO/runtime' },
    VUSBs: { type: 'set(ref:VUSB)', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-admin' },
  },
  messages: {
    create: {
      params: [
        { name: 'name_label', type: 'string', default: '' },
        { name: 'name_description', type: 'string', default: '' },
        { name: 'other_config', type: 'map(string,string)', default: {} },
      ],
      result: 'ref:USB_group',
      roles: 'pool-admin',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:USB_group' }], result: 'void', roles: 'pool-admin', async: true },
  },
} as const satisfies ClassModel;
