import type { ClassModel } from '../vocabulary.js';

export const VTPM = {
  name: 'VTPM',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    allowed_operations: { type: 'set(enum:vtpm_operations)', qualifier: 'RO/runtime', default: [] },
    current_operations: { type: 'map(string,enum:vtpm_operations)', qualifier: 'RO/runtime', default: {} },
    VM: { type: 'ref:VM', qualifier: 'RO/constructor' },
    backend: { type: 'ref:VM', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
    persistence_backend: { type: 'enum:persistence_backend', qualifier: 'RO/runtime', default: 'xapi' },
    is_unique: { type: 'bool', qualifier: 'RO/constructor', default: false },
    is_protected: { type: 'bool', qualifier: 'RO/runtime', default: false },
  },
  messages: {
    create: {
      params: [
        { name: 'vM', type: 'ref:VM' },
        { name: 'is_unique', type: 'bool' },
      ],
      result: 'ref:VTPM',
      roles: 'vm-admin',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:VTPM' }], result: 'void', roles: 'vm-admin', async: true },
    get_contents: {
      params: [{ name: 'self', type: 'ref:VTPM' }],
      result: 'string',
      roles: 'local-root',
      async: true,
      hidden: true,
    },
    set_contents: {
      params: [
        { name: 'self', type: 'ref:VTPM' },
        { name: 'contents', type: 'string' },
      ],
      result: 'void',
      roles: 'local-root',
      async: true,
      hidden: true,
    },
  },
} as const satisfies ClassModel;
