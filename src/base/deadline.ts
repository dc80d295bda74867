/** Deadlines for what may never come. */
import { XapiError } from './errors.js';

/**
 * The work's result, if it comes in time.
 *
 * @param what for the message, e.g. `no answer from the peer`
 * @param giveUp called when the time is up, to end the work
 * @throws INTERNAL_ERROR when it does not come within `timeoutMs`
 */
export async function within<T>(work: Promise<T>, timeoutMs: number, what: string, giveUp?: () => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new XapiError('INTERNAL_ERROR', [`${what} within ${timeoutMs / 1000} s`]));
      giveUp?.();
    }, timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The work's result, unless the signal is aborted first.
 * @throws the signal's reason
 */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  // Nobody waits for it any more when the signal was aborted before: its failure must not end the process.
  work.catch(() => undefined);
  signal.throwIfAborted();
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort);
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
  }
}
