import type { ClassModel } from '../vocabulary.js';

export const PVS_site = {
  name: 'PVS_site',
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
    PVS_uuid: { type: 'string', qualifier: 'RO/constructor', default: '' },
    cache_storage: { type: 'set(ref:PVS_cache_storage)', qualifier: 'RO/runtime', default: [] },
    servers: { type: 'set(ref:PVS_server)', qualifier: 'RO/runtime' },
    proxies: { type: 'set(ref:PVS_proxy)', qualifier: 'RO/runtime' },
  },
  messages: {
    introduce: {
      params: [
        { name: 'name_label', type: 'string' },
        { name: 'name_description', type: 'string' },
        { name: 'PVS_uuid', type: 'string' },
      ],
      result: 'ref:PVS_site',
      roles: 'pool-operator',
      async: true,
    },
    forget: {
      params: [{ name: 'self', type: 'ref:PVS_site' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      errors: ['PVS_SITE_CONTAINS_RUNNING_PROXIES', 'PVS_SITE_CONTAINS_SERVERS'],
    },
    set_PVS_uuid: {
      params: [
        { name: 'self', type: 'ref:PVS_site' },
        { name: 'value', type: 'string' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
  },
} as const satisfies ClassModel;
