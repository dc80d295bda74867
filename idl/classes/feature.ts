import type { ClassModel } from '../vocabulary.js';

export const Feature = {
  name: 'Feature',
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
    enabled: { type: 'bool', qualifier: 'RO/runtime', default: false },
    experimental: { type: 'bool', qualifier: 'RO/constructor', default: false },
    version: { type: 'string', qualifier: 'RO/constructor', default: '1.0' },
    host: { type: 'ref:host', qualifier: 'RO/runtime' },
  },
  messages: {},
} as const satisfies ClassModel;
