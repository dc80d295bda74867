import type { ClassModel } from '../vocabulary.js';

export const pool_update = {
  name: 'pool_update',
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
    installation_size: { type: 'int', qualifier: 'RO/constructor', default: 0 },
    key: { type: 'string', qualifier: 'RO/constructor', default: '' },
    after_apply_guidance: { type: 'set(enum:update_after_apply_guidance)', qualifier: 'RO/constructor', default: [] },
    vdi: { type: 'ref:VDI', qualifier: 'RO/constructor' },
    hosts: { type: 'set(ref:host)', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
    enforce_homogeneity: { type: 'bool', qualifier: 'RO/constructor', default: false },
  },
  messages: {
    introduce: {
      params: [{ name: 'vdi', type: 'ref:VDI' }],
      result: 'ref:pool_update',
      roles: 'pool-operator',
      async: true,
    },
    precheck: {
      params: [
        { name: 'self', type: 'ref:pool_update' },
        { name: 'host', type: 'ref:host' },
      ],
      result: 'enum:livepatch_status',
      roles: 'pool-operator',
      async: true,
    },
    apply: {
      params: [
        { name: 'self', type: 'ref:pool_update' },
        { name: 'host', type: 'ref:host' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    pool_apply: {
      params: [{ name: 'self', type: 'ref:pool_update' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    pool_clean: {
      params: [{ name: 'self', type: 'ref:pool_update' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    destroy: {
      params: [{ name: 'self', type: 'ref:pool_update' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    attach: {
      params: [
        { name: 'self', type: 'ref:pool_update' },
        { name: 'use_localhost_proxy', type: 'bool', default: false },
      ],
      result: 'string',
      roles: 'pool-operator',
      async: true,
      hidden: true,
    },
    detach: {
      params: [{ name: 'self', type: 'ref:pool_update' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      hidden: true,
    },
    resync_host: {
      params: [{ name: 'host', type: 'ref:host' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      hidden: true,
    },
  },
} as const satisfies ClassModel;
