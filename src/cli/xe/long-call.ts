/** A long message of the XenAPI, run from a terminal: a progress bar, and Ctrl-C cancels it. */
import { openProgress } from '../client/progress.js';
import { type TaskRecord, taskEnd, taskError } from '../client/task.js';
import type { Context } from './command.js';
import { errorLine } from './error.js';

/** End of a message that ran as a task. */
interface TaskEnd {
  /** Result, where that is a reference or nothing. */
  readonly result: string;
  /** Notes of the server on the task, by name. */
  readonly figures: TaskRecord['other_config'];
}

/** Run a message as a task, and answer its result alone: see longTask. */
export async function longCall(context: Context, method: string, ...params: unknown[]): Promise<string> {
  return (await longTask(context, method, ...params)).result;
}

/**
 * Run a message as a task until its end. Progress goes to standard error where that is a terminal. The first Ctrl-C cancels
 * the task and waits for its end, which may be a success; a second one leaves at once, and the task goes on.
 * @param method without `Async.`
 * @throws XapiError with which the task ended, or the message was refused
 */
export async function longTask(context: Context, method: string, ...params: unknown[]): Promise<TaskEnd> {
  const { session, terminal } = context;
  const task = await session.call<string>(`Async.${method}`, ...params);
  const bar = openProgress(method, terminal.screen);
  const stopListening = terminal.onInterrupt(() => {
    terminal.err(`cancelling ${method}; Ctrl-C again leaves it to itself\n`);
    session.call('task.cancel', task).catch(async (error: unknown) => {
      terminal.err(`cannot cancel: ${await errorLine(error, context.objects)}\n`);
    });
  });
  try {
    const record = await taskEnd(session, task, ({ progress }) => bar.update(progress));
    const error = taskError(task, record);
    if (error !== undefined) throw error;
    return { result: record.result.replace(/^<value>(.*)<\/value>$/s, '$1'), figures: record.other_config };
  } finally {
    bar.stop();
    stopListening();
    await session.call('task.destroy', task).catch(() => undefined);
  }
}
