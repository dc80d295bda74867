import type { ClassModel } from '../vocabulary.js';

export const role = {
  name: 'role',
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
    name_label: { type: 'string', qualifier: 'RO/constructor', default: '' },
    name_description: { type: 'string', qualifier: 'RO/constructor', default: '' },
    subroles: { type: 'set(ref:role)', qualifier: 'RO/constructor', default: [] },
    is_internal: { type: 'bool', qualifier: 'RO/runtime', default: false },
  },
  messages: {
    get_permissions: { params: [{ name: 'self', type: 'ref:role' }], result: 'set(ref:role)', roles: 'read-only' },
    get_permissions_name_label: {
      doc: 'The messages that a role may send, by name in lower case.',
      params: [{ name: 'self', type: 'ref:role' }],
      result: 'set(string)',
      roles: 'read-only',
    },
    get_by_permission: {
      params: [{ name: 'permission', type: 'ref:role' }],
      result: 'set(ref:role)',
      roles: 'read-only',
    },
    get_by_permission_name_label: {
      doc: 'The roles that may send a message, which is named in lower case.',
      params: [{ name: 'label', type: 'string' }],
      result: 'set(ref:role)',
      roles: 'read-only',
    },
  },
} as const satisfies ClassModel;
