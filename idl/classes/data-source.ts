import type { ClassModel } from '../vocabulary.js';

export const data_source = {
  name: 'data_source',
  inDatabase: false,
  events: false,
  generic: [],
  fields: {
    name_label: { type: 'string', qualifier: 'RO/runtime', default: '' },
    name_description: { type: 'string', qualifier: 'RO/runtime', default: '' },
    enabled: { type: 'bool', qualifier: 'RO/runtime' },
    standard: { type: 'bool', qualifier: 'RO/runtime' },
    units: { type: 'string', qualifier: 'RO/runtime' },
    min: { type: 'float', qualifier: 'RO/runtime' },
    max: { type: 'float', qualifier: 'RO/runtime' },
    value: { type: 'float', qualifier: 'RO/runtime' },
  },
  messages: {},
} as const satisfies ClassModel;
