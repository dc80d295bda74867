import type { ClassModel } from '../vocabulary.js';

export const probe_result = {
  name: 'probe_result',
  inDatabase: false,
  events: false,
  generic: [],
  fields: {
    configuration: { type: 'map(string,string)', qualifier: 'RO/runtime' },
    complete: { type: 'bool', qualifier: 'RO/runtime' },
    sr: { type: 'option(record:sr_stat)', qualifier: 'RO/runtime' },
    extra_info: { type: 'map(string,string)', qualifier: 'RO/runtime' },
  },
  messages: {},
} as const satisfies ClassModel;
