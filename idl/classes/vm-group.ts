import type { ClassModel } from '../vocabulary.js';

export const VM_group = {
  name: 'VM_group',
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
    name_label: { type: 'string', qualifier: 'RW', default: '', writers: 'vm-admin' },
    name_description: { type: 'string', qualifier: 'RW', default: '', writers: 'vm-admin' },
    placement: { type: 'enum:placement_policy', qualifier: 'RO/constructor', default: 'normal' },
    VMs: { type: 'set(ref:VM)', qualifier: 'RO/runtime' },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:VM_group' }],
      result: 'ref:VM_group',
      roles: 'vm-admin',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:VM_group' }], result: 'void', roles: 'vm-admin', async: true },
  },
} as const satisfies ClassModel;
