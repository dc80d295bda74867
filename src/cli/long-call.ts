/** A long message of the XenAPI, run from a terminal: a progress bar, and Ctrl-C cancels it. */
import { Presets, SingleBar } from 'cli-progress';
import { messageOf } from '../base/errors.js';
import { taskEnd, taskError } from './task.js';
import type { Context, Terminal } from './xe-command.js';

/**
 * Run a message as a task until its end. Progress goes to standard error where that is a terminal. The first Ctrl-C cancels
 * the task and waits for its end, which may be a success; a second one leaves at once.
 * @param method without `Async.`
 * @throws XapiError with which the task ended, or the message was refused
 */
export async function longCall(context: Context, method: string, ...params: unknown[]): Promise<void> {
  const { session, terminal } = context;
  const task = await session.call<string>(`Async.${method}`, ...params);
  const bar = progressBar(terminal);
  const stopListening = terminal.onInterrupt(() => {
    session.call('task.cancel', task).catch((error: unknown) => {
      terminal.err(`cannot cancel: ${messageOf(error)}\n`);
    });
  });
  try {
    const error = taskError(task, await taskEnd(session, task, ({ progress }) => bar.update(progress)));
    if (error !== undefined) throw error;
  } finally {
    bar.stop();
    stopListening();
    await session.call('task.destroy', task).catch(() => undefined);
  }
}

interface Progress {
  update(fraction: number): void;
  stop(): void;
}

function progressBar({ screen }: Terminal): Progress {
  if (screen === undefined) return { update: () => undefined, stop: () => undefined };
  const options = { stream: screen, format: '{bar} {percentage}% {duration_formatted}', clearOnComplete: true };
  const bar = new SingleBar({ ...options, hideCursor: true, stopOnComplete: false }, Presets.shades_grey);
  bar.start(100, 0);
  return { update: (fraction) => bar.update(Math.floor(fraction * 100)), stop: () => bar.stop() };
}
