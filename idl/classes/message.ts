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
      params: [
        { name: 'cls', type: 'enum:cls' },
        { name: 'obj_uuid', type: 'string' },
        { name: 'since', type: 'datetime' },
      ],
      result: 'map(ref:message,record:message)',
      roles: 'read-only',
    },
    get_all: { params: [], result: 'set(ref:message)', roles: 'read-only' },
    get_since: {
      params: [{ name: 'since', type: 'datetime' }],
      result: 'map(ref:message,record:message)',
      roles: 'read-only',
    },
    get_record: { params: [{ name: 'self', type: 'ref:message' }], result: 'record:message', roles: 'read-only' },
    get_by_uuid: { params: [{ name: 'uuid', type: 'string' }], result: 'ref:message', roles: 'read-only' },
    get_all_records: { params: [], result: 'map(ref:message,record:message)', roles: 'read-only' },
    get_all_records_where: {
      params: [{ name: 'expr', type: 'string' }],
      result: 'map(ref:message,record:message)',
      roles: 'read-only',
    },
  },
} as const satisfies ClassModel;
