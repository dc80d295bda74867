/** A long message of the XenAPI, run from a terminal: a progress bar, and Ctrl-C cancels it. */
import { messageOf } from '../base/errors.js';
import { openProgress } from './progress.js';
import { taskEnd, taskError } from './task.js';
import type { Context } from './xe-command.js';

/**
 * Run a message as a task until its end. Progress goes to standard error where that is a terminal. The first Ctrl-C cancels
 * the task and waits for its end, which may be a success; a second one leaves at once, and the task goes on.
 * @param method without `Async.`
 * @returns its result, where that is a reference or nothing
 * @throws XapiError with which the task ended, or the message was refused
 */
export async function longCall(context: Context, method: string, ...params: unknown[]): Promise<string> {
  const { session, terminal } = context;
  const task = await session.call<string>(`Async.${method}`, ...params);
  const bar = openProgress(method, terminal.screen);
  const stopListening = terminal.onInterrupt(() => {
    terminal.err(`cancelling ${method}; Ctrl-C again leaves it to itself\n`);
    session.call('task.cancel', task).catch((error: unknown) => {
      terminal.err(`cannot cancel: ${messageOf(error)}\n`);
    });
  });
  try {
    const record = await taskEnd(session, task, ({ progress }) => bar.update(progress));
    const error = taskError(task, record);
    if (error !== undefined) throw error;
    return record.result.replace(/^<value>(.*)<\/value>$/s, '$1');
  } finally {
    bar.stop();
    stopListening();
    await session.call('task.destroy', task).catch(() => undefined);
  }
}
