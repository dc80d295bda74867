import type { ClassModel } from '../vocabulary.js';

export const message = {
  name: 'message',
  inDatabase: false,
  events: true,
  generic: ['get_record', 'get_by_uuid', 'get_all', 'get_all_records', 'get_all_records_where'],
  fields: {
    uuid: { type: 'string', qualifier: 'RO/runtime' },
    name: { type: 'string', qualifier: 'RO/runtime' },
    priority: { type: 'int', qualifier: 'RO/runtime' },
    cls: { type: 'enum:cls', qualifier: 'RO/runtime' },
    obj_uuid: { type: 'string', qualifier: 'RO/runtime' },
    timestamp: { type: 'datetime', qualifier: 'RO/runtime' },
    body: { type: 'string', qualifier: 'RO/runtime' },
  },
  messages: {
    create: {
      doc: 'Make a message about an object.',
      params: [
        { name: 'name', type: 'string' },
        { name: 'priority', type: 'int' },
        { name: 'cls', type: 'enum:cls' },
        { name: 'obj_uuid', type: 'string' },
        { name: 'body', type: 'string' },
      ],
      result: 'ref:message',
      roles: 'pool-operator',
    },
    destroy: {
      doc: 'Remove a message.',
      params: [{ name: 'self', type: 'ref:message' }],
      result: 'void',
      roles: 'pool-operator',
    },
    destroy_many: {
      doc: 'Remove messages.',
      params: [{ name: 'messages', type: 'set(ref:message)' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    destroy_all: {
      doc: 'Remove every message, or those that filters pick: before and after a time, of a priority.',
      params: [{ name: 'filters', type: 'map(string,string)' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    get: {
      doc: 'Every message about one object since a time.',
      params: [
        { name: 'cls', type: 'enum:cls' },
        { name: 'obj_uuid', type: 'string' },
        { name: 'since', type: 'datetime' },
      ],
      result: 'map(ref:message,record:message)',
      roles: 'read-only',
    },
    get_since: {
      doc: 'Every message since a time, with its record.',
      params: [{ name: 'since', type: 'datetime' }],
      result: 'map(ref:message,record:message)',
      roles: 'read-only',
    },
  },
} as const satisfies ClassModel;
