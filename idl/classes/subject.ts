import type { ClassModel } from '../vocabulary.js';

export const subject = {
  name: 'subject',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    subject_identifier: { type: 'string', qualifier: 'RO/constructor', default: '' },
    other_config: { type: 'map(string,string)', qualifier: 'RO/constructor', default: {} },
    roles: {
      type: 'set(ref:role)',
      qualifier: 'RO/runtime',
      default: ['OpaqueRef:0165f154-ba3e-034e-6b27-5d271af109ba'],
    },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:subject' }],
      result: 'ref:subject',
      roles: 'pool-admin',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:subject' }], result: 'void', roles: 'pool-admin', async: true },
    add_to_roles: {
      params: [
        { name: 'self', type: 'ref:subject' },
        { name: 'role', type: 'ref:role' },
      ],
      result: 'void',
      roles: 'pool-admin',
    },
    remove_from_roles: {
      params: [
        { name: 'self', type: 'ref:subject' },
        { name: 'role', type: 'ref:role' },
      ],
      result: 'void',
      roles: 'pool-admin',
    },
    get_permissions_name_label: {
      params: [{ name: 'self', type: 'ref:subject' }],
      result: 'set(string)',
      roles: 'read-only',
    },
  },
} as const satisfies ClassModel;
