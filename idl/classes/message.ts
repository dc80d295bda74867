import type { ClassModel } from '../vocabulary.js';

export const message = {
  name: 'message',
  inDatabase: false,
  events: true,
  generic: [],
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
    destroy: { params: [{ name: 'self', type: 'ref:message' }], result: 'void', roles: 'pool-operator' },
    destroy_many: {
      params: [{ name: 'messages', type: 'set(ref:message)' }],
      result: 'void',
      roles: 'pool-operator',
      async: true,
    },
    destroy_all: {
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
    get_all: { doc: 'Every message.', params: [], result: 'set(ref:message)', roles: 'read-only' },
    get_since: {
      doc: 'Every message since a time, with its record.',
      params: [{ name: 'since', type: 'datetime' }],
      result: 'map(ref:message,record:message)',
      roles: 'read-only',
    },
    get_record: {
      doc: 'The record of a message.',
      params: [{ name: 'self', type: 'ref:message' }],
      result: 'record:message',
      roles: 'read-only',
    },
    get_by_uuid: {
      doc: 'The message with a uuid.',
      params: [{ name: 'uuid', type: 'string' }],
      result: 'ref:message',
      roles: 'read-only',
    },
    get_all_records: {
      doc: 'Every message with its record.',
      params: [],
      result: 'map(ref:message,record:message)',
      roles: 'read-only',
    },
    get_all_records_where: {
      doc: 'The messages that an expression matches, with their records.',
      params: [{ name: 'expr', type: 'string' }],
      result: 'map(ref:message,record:message)',
      roles: 'read-only',
    },
  },
} as const satisfies ClassModel;
