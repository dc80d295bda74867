import type { ClassModel } from '../vocabulary.js';

export const vdi_nbd_server_info = {
  name: 'vdi_nbd_server_info',
  inDatabase: false,
  events: false,
  generic: [],
  fields: {
    exportname: { type: 'string', qualifier: 'RO/runtime' },
    address: { type: 'string', qualifier: 'RO/runtime' },
    port: { type: 'int', qualifier: 'RO/runtime' },
    cert: { type: 'string', qualifier: 'RO/runtime' },
    subject: { type: 'string', qualifier: 'RO/runtime' },
  },
  messages: {},
} as const satisfies ClassModel;
