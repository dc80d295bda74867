import type { ClassModel } from '../vocabulary.js';

export const pool_patch = {
  name: 'pool_patch',
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
    version: { type: 'string', qualifier: 'RO/constructor', default: '' },
    size: { type: 'int', qualifier: 'RO/runtime', default: 0 },
    pool_applied: { type: 'bool', qualifier: 'RO/runtime', default: false },
    host_patches: { type: 'set(ref:host_patch)', qualifier: 'RO/runtime' },
    after_apply_guidance: { type: 'set(enum:after_apply_guidance)', qualifier: 'RO/runtime', default: [] },
    pool_update: { type: 'ref:pool_update', qualifier: 'RO/constructor', default: 'OpaqueRef:NULL' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
  },
  messages: {
    apply: {
      params: [
        { name: 'self', type: 'ref:pool_patch' },
        { name: 'host', type: 'ref:host' },
      ],
      result: 'string',
      roles: 'pool-operator',
      async: true,
    },
    pool_apply: {
      params: [{ name: 'self', type: 'ref:pool_patch' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    precheck: {
      params: [
        { name: 'self', type: 'ref:pool_patch' },
        { name: 'host', type: 'ref:host' },
      ],
      result: 'string',
      roles: 'pool-operator',
      async: true,
    },
    clean: { params: [{ name: 'self', type: 'ref:pool_patch' }], result: 'void', roles: 'pool-operator', async: true },
    pool_clean: {
      params: [{ name: 'self', type: 'ref:pool_patch' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    destroy: {
      params: [{ name: 'self', type: 'ref:pool_patch' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    clean_on_host: {
      params: [
        { name: 'self', type: 'ref:pool_patch' },
        { name: 'host', type: 'ref:host' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
  },
} as const satisfies ClassModel;
