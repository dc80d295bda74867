/**
 * How the daemon ends: in order on the first SIGTERM or SIGINT, within a bounded time; at once on the second; at once,
 * too, on an error that nobody has caught, after which nothing that it knows can be trusted, and where its database has
 * failed. What is not done by then is in the journal, and the next start does it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf } from './base/errors.js';
import type { RootLog } from './base/log.js';

export interface ShutdownInit {
  readonly log: RootLog;
  /** End everything in order. */
  readonly close: () => Promise<void>;
  /** Time that an end in order may take, in milliseconds. */
  readonly timeoutMs: () => number;
  /**
   * Kill the helper processes that are left.
   * @returns how many there were
   */
  readonly killHelpers: () => number;
  /** End the process. */
  readonly exit: (status: number) => void;
}

export interface Shutdown {
  /** The first ends the daemon in order, with status 0; the second at once, with status 1. */
  onSignal(signal: string): void;
  /** Ends the daemon with status 1, and its stack in the log. */
  onUncaught(error: unknown): void;
  /** The same where the database has failed, after which nothing can be made durable. */
  onStoreFailed(error: unknown): void;
}

/** Time in which the last lines of the log are written, in milliseconds. */
const lastLinesMs = 1_000;

/** Make what ends the daemon. */
export function createShutdown({ log, close, timeoutMs, killHelpers, exit }: ShutdownInit): Shutdown {
  let isShuttingDown = false;
  const leave = async (status: number): Promise<void> => {
    await Promise.race([log.close(), delay(lastLinesMs)]);
    exit(status);
  };
  let hasFailed = false;
  const fail = (what: string, error: unknown): void => {
    // Telling of the failure may fail as well.
    if (hasFailed) return;
    hasFailed = true;
    isShuttingDown = true;
    log.error(`${what}: the daemon ends`, { error });
    // The log may be on a disk that cannot be written.
    process.stderr.write(`xenferryd: ${what}: ${messageOf(error)}\n`);
    killHelpers();
    void leave(1);
  };
  const stop = async (): Promise<number> => {
    const limitMs = timeoutMs();
    try {
      if (await Promise.race([close().then(() => true), delay(limitMs, false)])) {
        log.info('stopped');
        return 0;
      }
      const killed = killHelpers();
      log.warn(
        `stopped after ${limitMs / 1000} s with work left, which the next start does; ${killed} helpers were killed`,
      );
      return 0;
    } catch (error) {
      killHelpers();
      log.error('stopped, not in order', { error });
      return 1;
    }
  };
  return {
    onSignal(signal) {
      log.info(`${signal}: ${isShuttingDown ? 'ends at once' : 'stopping'}`);
      if (isShuttingDown) {
        killHelpers();
        return void leave(1);
      }
      isShuttingDown = true;
      void stop().then(leave);
    },
    onUncaught: (error) => fail('an error that nobody has caught', error),
    onStoreFailed: (error) => fail('the database cannot be written any more', error),
  };
}
