import type { ClassModel } from '../vocabulary.js';

export const task = {
  name: 'task',
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
    allowed_operations: { type: 'set(enum:task_allowed_operations)', qualifier: 'RO/runtime', default: [] },
    current_operations: { type: 'map(string,enum:task_allowed_operations)', qualifier: 'RO/runtime', default: {} },
    created: { type: 'datetime', qualifier: 'RO/runtime' },
    finished: { type: 'datetime', qualifier: 'RO/runtime' },
    status: { type: 'enum:task_status_type', qualifier: 'RO/runtime' },
    resident_on: { type: 'ref:host', qualifier: 'RO/runtime' },
    progress: { type: 'float', qualifier: 'RO/runtime' },
    type: { type: 'string', qualifier: 'RO/runtime' },
    result: { type: 'string', qualifier: 'RO/runtime' },
    error_info: { type: 'set(string)', qualifier: 'RO/runtime' },
    other_config: { type: 'map(string,string)', qualifier: 'RO/runtime', default: {} },
    subtask_of: { type: 'ref:task', qualifier: 'RO/runtime', default: 'OpaqueRef:NULL' },
    subtasks: { type: 'set(ref:task)', qualifier: 'RO/runtime' },
    backtrace: { type: 'string', qualifier: 'RO/runtime', default: '()' },
  },
  messages: {
    create: {
      doc: 'Create a task that the caller drives by itself.',
      params: [
        { name: 'label', type: 'string' },
        { name: 'description', type: 'string' },
      ],
      result: 'ref:task',
      roles: 'read-only',
    },
    destroy: {
      doc: 'Remove a finished task; one that is still pending is removed when it ends.',
      params: [{ name: 'self', type: 'ref:task' }],
      result: 'void',
      roles: 'read-only',
    },
    cancel: {
      doc: 'Ask a task to stop. A migration stops until its commit point, not after.',
      params: [{ name: 'task', type: 'ref:task' }],
      result: 'void',
      roles: 'read-only',
      async: true,
      errors: ['OPERATION_NOT_ALLOWED'],
    },
    set_status: {
      doc: 'Set the status of a task that the caller drives.',
      params: [
        { name: 'self', type: 'ref:task' },
        { name: 'value', type: 'enum:task_status_type' },
      ],
      result: 'void',
      roles: 'read-only',
    },
    set_progress: {
      doc: 'Set the progress, 0 to 1, of a task that the caller drives.',
      params: [
        { name: 'self', type: 'ref:task' },
        { name: 'value', type: 'float' },
      ],
      result: 'void',
      roles: 'read-only',
    },
    set_result: {
      doc: 'Set the result of a task that the caller drives.',
      params: [
        { name: 'self', type: 'ref:task' },
        { name: 'value', type: 'string' },
      ],
      result: 'void',
      roles: 'read-only',
    },
    set_error_info: {
      doc: 'Set the error of a task that the caller drives: a code and its parameters.',
      params: [
        { name: 'self', type: 'ref:task' },
        { name: 'value', type: 'set(string)' },
      ],
      result: 'void',
      roles: 'read-only',
    },
    add_to_other_config: {
      doc: "Add one key to the task's other_config.",
      params: [
        { name: 'self', type: 'ref:task' },
        { name: 'key', type: 'string' },
        { name: 'value', type: 'string' },
      ],
      result: 'void',
      roles: 'read-only',
      async: true,
    },
    remove_from_other_config: {
      doc: "Remove one key from the task's other_config.",
      params: [
        { name: 'self', type: 'ref:task' },
        { name: 'key', type: 'string' },
      ],
      result: 'void',
      roles: 'read-only',
      async: true,
    },
    set_other_config: {
      doc: "Replace the task's other_config.",
      params: [
        { name: 'self', type: 'ref:task' },
        { name: 'value', type: 'map(string,string)' },
      ],
      result: 'void',
      roles: 'read-only',
      async: true,
    },
  },
} as const satisfies ClassModel;
