/** task.*: tasks that callers drive by themselves, and the end of any. */
import type { ClassHandlers } from '../../model/handlers.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class task. */
export function taskHandlers({ db, tasks }: HandlerDeps): ClassHandlers<'task'> {
  return {
    create: (_context, label, description) => tasks.createForCaller(label, description),
    destroy: (_context, ref) => tasks.destroy(ref),
    cancel: (_context, ref) => tasks.cancel(ref),
    set_status: (_context, ref, status) => tasks.drive(ref, { status }),
    set_progress: (_context, ref, progress) => tasks.drive(ref, { progress }),
    set_result: (_context, ref, result) => tasks.drive(ref, { result }),
    set_error_info: (_context, ref, error_info) => tasks.drive(ref, { error_info }),
    add_to_other_config: (_context, ref, key, value) => db.addToMap('task', ref, 'other_config', key, value),
    remove_from_other_config: (_context, ref, key) => db.removeFromMap('task', ref, 'other_config', key),
    set_other_config: (_context, ref, value) => db.update('task', ref, { other_config: value }),
  };
}
