import type { ClassModel } from '../vocabulary.js';

export const host_cpu = {
  name: 'host_cpu',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    host: { type: 'ref:host', qualifier: 'RO/runtime' },
    number: { type: 'int', qualifier: 'RO/runtime' },
    vendor: { type: 'string', qualifier: 'RO/runtime' },
    speed: { type: 'int', qualifier: 'RO/runtime' },
    modelname: { type: 'string', qualifier: 'RO/runtime' },
    family: { type: 'int', qualifier: 'RO/runtime' },
    model: { type: 'int', qualifier: 'RO/runtime' },
    stepping: { type: 'string', qualifier: 'RO/runtime' },
    flags: { type: 'string', qualifier: 'RO/runtime' },
    features: { type: 'string', qualifier: 'RO/runtime' },
    utilisation: { type: 'float', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
  },
  messages: {},
} as const satisfies ClassModel;
