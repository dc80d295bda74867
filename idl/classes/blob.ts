import type { ClassModel } from '../vocabulary.js';

export const blob = {
  name: 'blob',
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
    name_label: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-operator' },
    name_description: { type: 'string', qualifier: 'RW', default: '', writers: 'pool-operator' },
    size: { type: 'int', qualifier: 'RO/runtime' },
    public: { type: 'bool', qualifier: 'RW', default: false, writers: 'pool-operator' },
    last_updated: { type: 'datetime', qualifier: 'RO/constructor' },
    mime_type: { type: 'string', qualifier: 'RO/constructor' },
  },
  messages: {
    create: {
      params: [
        { name: 'mime_type', type: 'string' },
        { name: 'public', type: 'bool', default: false },
      ],
      result: 'ref:blob',
      roles: 'pool-operator',
    },
    destroy: { params: [{ name: 'self', type: 'ref:blob' }], result: 'void', roles: 'pool-operator' },
  },
} as const satisfies ClassModel;
