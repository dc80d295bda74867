import type { ClassModel } from '../vocabulary.js';

export const SM = {
  name: 'SM',
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
    name_label: { type: 'string', qualifier: 'RO/runtime', default: '' },
    name_description: { type: 'string', qualifier: 'RO/runtime', default: '' },
    type: { type: 'string', qualifier: 'RO/runtime' },
    vendor: { type: 'string', qualifier: 'RO/runtime' },
    copyright: { type: 'string', qualifier: 'RO/runtime' },
    version: { type: 'string', qualifier: 'RO/runtime' },
    required_api_version: { type: 'string', qualifier: 'RO/runtime' },
    configuration: { type: 'map(string,string)', qualifier: 'RO/runtime' },
    capabilities: { type: 'set(string)', qualifier: 'RO/runtime', default: [] },
    features: { type: 'map(string,int)', qualifier: 'RO/runtime', default: {} },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
    driver_filename: { type: 'string', qualifier: 'RO/runtime', default: '' },
    required_cluster_stack: { type: 'set(string)', qualifier: 'RO/runtime', default: [] },
    supported_image_formats: { type: 'set(enum:image_format_type)', qualifier: 'RO/runtime', default: [] },
  },
  messages: {},
} as const satisfies ClassModel;
