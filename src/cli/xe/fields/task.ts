/** Tasks as xe shows them. */
import type { XeClass } from './vocabulary.js';

export const task: XeClass = {
  command: 'task',
  class: 'task',
  columns: ['uuid', 'name-label', 'name-description', 'status', 'progress'],
  fields: {
    uuid: 'RO',
    'name-label': 'RO',
    'name-description': 'RO',
    subtask_of: 'RO',
    subtasks: 'RO',
    'resident-on': 'RO',
    status: 'RO',
    progress: 'RO',
    type: 'RO',
    result: 'RO',
    created: 'RO',
    finished: 'RO',
    error_info: 'RO',
    allowed_operations: 'RO',
    current_operations: 'RO',
    'other-config': 'MRW',
  },
};
