import type { ClassModel } from '../vocabulary.js';

export const event = {
  name: 'event',
  inDatabase: false,
  events: false,
  generic: [],
  fields: {
    id: { type: 'int', qualifier: 'RO/constructor' },
    timestamp: { type: 'datetime', qualifier: 'RO/constructor' },
    class: { type: 'string', qualifier: 'RO/constructor' },
    operation: { type: 'enum:event_operation', qualifier: 'RO/constructor' },
    ref: { type: 'string', qualifier: 'RO/constructor' },
    obj_uuid: { type: 'string', qualifier: 'RO/constructor' },
  },
  messages: {
    register: {
      doc: 'Let this session hear of changes of the named classes, by event.next.',
      params: [{ name: 'classes', type: 'set(string)' }],
      result: 'void',
      roles: 'read-only',
      async: true,
    },
    unregister: {
      doc: 'Let this session hear no more of changes of the named classes.',
      params: [{ name: 'classes', type: 'set(string)' }],
      result: 'void',
      roles: 'read-only',
      async: true,
    },
    next: {
      doc: 'Wait for changes that the session has not heard of yet, of what it registered for.',
      params: [],
      // Published as set(record:event), which is not what any server sends.
      result: 'set(record:event_change)',
      roles: 'read-only',
      errors: ['EVENTS_LOST', 'EVENT_SUBSCRIPTION_PARSE_FAILURE', 'SESSION_NOT_REGISTERED'],
    },
    from: {
      doc: 'Wait for changes of the named classes since a token, and give them with the next token.',
      params: [
        { name: 'classes', type: 'set(string)' },
        { name: 'token', type: 'string' },
        { name: 'timeout', type: 'float' },
      ],
      // Published as set(record:event), which is not what any server sends.
      result: 'record:event_batch',
      roles: 'read-only',
      errors: ['EVENT_FROM_TOKEN_PARSE_FAILURE', 'EVENT_SUBSCRIPTION_PARSE_FAILURE'],
    },
    get_current_id: {
      doc: 'The number of the newest change in the database.',
      params: [],
      result: 'int',
      roles: 'read-only',
    },
    inject: {
      doc: "Make a change to one object's row without changing it; gives a token from before it.",
      params: [
        { name: 'class', type: 'string' },
        { name: 'ref', type: 'string' },
      ],
      result: 'string',
      roles: 'read-only',
    },
  },
} as const satisfies ClassModel;
