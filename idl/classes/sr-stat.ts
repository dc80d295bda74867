import type { ClassModel } from '../vocabulary.js';

export const sr_stat = {
  name: 'sr_stat',
  inDatabase: false,
  events: false,
  generic: [],
  fields: {
    uuid: { type: 'option(string)', qualifier: 'RO/runtime' },
    name_label: { type: 'string', qualifier: 'RO/runtime' },
    name_description: { type: 'string', qualifier: 'RO/runtime' },
    free_space: { type: 'int', qualifier: 'RO/runtime' },
    total_space: { type: 'int', qualifier: 'RO/runtime' },
    clustered: { type: 'bool', qualifier: 'RO/runtime' },
    health: { type: 'enum:sr_health', qualifier: 'RO/runtime' },
  },
  messages: {},
} as const satisfies ClassModel;
