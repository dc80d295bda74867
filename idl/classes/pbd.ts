import type { ClassModel } from '../vocabulary.js';

export const PBD = {
  name: 'PBD',
  inDatabase: true,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_where', 'get_all_records_where', 'get_all_records'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    host: { type: 'ref:host', qualifier: 'RO/constructor' },
    SR: { type: 'ref:SR', qualifier: 'RO/constructor' },
    device_config: { type: 'map(string,string)', qualifier: 'RO/constructor' },
    currently_attached: { type: 'bool', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RW', default: {}, writers: 'pool-operator' },
  },
  messages: {
    create: {
      doc: 'Say that a host can reach an SR.',
      params: [{ name: 'args', type: 'record:PBD' }],
      result: 'ref:PBD',
      roles: 'pool-operator',
      async: true,
    },
    destroy: {
      doc: 'Forget that a host can reach an SR; it must not be plugged.',
      params: [{ name: 'self', type: 'ref:PBD' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    plug: {
      doc: 'Attach an SR to its host.',
      params: [{ name: 'self', type: 'ref:PBD' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
      errors: ['SR_UNKNOWN_DRIVER'],
    },
    unplug: {
      doc: 'Detach an SR from its host; none of its disks may be in use there.',
      params: [{ name: 'self', type: 'ref:PBD' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    set_device_config: {
      params: [
        { name: 'self', type: 'ref:PBD' },
        { name: 'value', type: 'map(string,string)' },
      ],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
  },
} as const satisfies ClassModel;
