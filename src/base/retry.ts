/** Doing again, for as long as it takes, what has to succeed in the end. */
import { setTimeout as delay } from 'node:timers/promises';

const firstPauseMs = 200;
const longestPauseMs = 30_000;

/**
 * Do a piece of work until it says that nothing is left to do, with pauses that grow from 200 ms to 30 s.
 * @param work one attempt; does not throw
 * @returns whether nothing is left to do
 * @param signal ends it between two attempts
 */
export async function persist(work: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  for (let pause = firstPauseMs; !signal.aborted; pause = Math.min(pause * 2, longestPauseMs)) {
    if (await work()) return;
    await delay(pause, undefined, { signal }).catch(() => undefined);
  }
}
