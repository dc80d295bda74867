import type { ClassModel } from '../vocabulary.js';

export const Observer = {
  name: 'Observer',
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
    hosts: { type: 'set(ref:host)', qualifier: 'RO/constructor', default: [] },
    attributes: { type: 'map(string,string)', qualifier: 'RO/constructor', default: {} },
    endpoints: { type: 'set(string)', qualifier: 'RO/constructor', default: [] },
    components: { type: 'set(string)', qualifier: 'RO/constructor', default: [] },
    enabled: { type: 'bool', qualifier: 'RO/constructor', default: false },
  },
  messages: {
    create: {
      params: [{ name: 'args', type: 'record:Observer' }],
      result: 'ref:Observer',
      roles: 'pool-admin',
      async: true,
    },
    destroy: { params: [{ name: 'self', type: 'ref:Observer' }], result: 'void', roles: 'pool-admin', async: true },
    register: {
      params: [
        { name: 'self', type: 'ref:Observer' },
        { name: 'host', type: 'ref:host' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
      hidden: true,
    },
    unregister: {
      params: [
        { name: 'self', type: 'ref:Observer' },
        { name: 'host', type: 'ref:host' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
      hidden: true,
    },
    set_hosts: {
      params: [
        { name: 'self', type: 'ref:Observer' },
        { name: 'value', type: 'set(ref:host)' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
    set_enabled: {
      params: [
        { name: 'self', type: 'ref:Observer' },
        { name: 'value', type: 'bool' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
    set_attributes: {
      params: [
        { name: 'self', type: 'ref:Observer' },
        { name: 'value', type: 'map(string,string)' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
    set_endpoints: {
      params: [
        { name: 'self', type: 'ref:Observer' },
        { name: 'value', type: 'set(string)' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
    set_components: {
      params: [
        { name: 'self', type: 'ref:Observer' },
        { name: 'value', type: 'set(string)' },
      ],
      result: 'void',
      roles: 'pool-admin',
      async: true,
    },
  },
} as const satisfies ClassModel;
