/** What happens on a host, numbered, for its coordinator to follow by a long poll. */
import { XapiError } from '../../base/errors.js';
import type { Store } from '../../base/store/store.js';
import type { HostEvent } from './service.js';

export interface HostEvents {
  emit(event: HostEvent): void;
  /**
   * Events after number `since`, oldest first; all events of this run where the number is of another run.
   * Waits up to `timeoutSeconds` for an event, and a moment longer where the event is mere progress.
   */
  after(since: number, timeoutSeconds: number): Promise<{ events: HostEvent[]; next: number }>;
  /** Tell everyone who waits, or asks later, that the host stops. */
  close(): void;
}

/** How many events are kept; a follower that falls behind reads the host's state anew. */
const kept = 10_000;
/** How long an event of progress waits for others, in milliseconds: each answer costs both sides a call. */
const gatherMs = 250;

/** Whether an event tells nothing but how a migration goes. */
export function isProgress({ kind }: HostEvent): boolean {
  return kind === 'migration-progress' || kind === 'migration-figures';
}

/** How many numbers a run of the daemon has. */
const numbersOfRun = 2 ** 32;
/** How many runs the clock may number; as many again are left for counting on, below the greatest exact number. */
const runsByClock = 2 ** 20;

/**
 * Take the numbers of this run of the daemon.
 * @param wall the clock, in milliseconds since 1970
 * @returns the first; greater than each number of an earlier run, whatever was done to the clock
 * @throws OUT_OF_SPACE [path]
 */
export async function reserveEventNumbers(store: Store, wall: () => number = Date.now): Promise<number> {
  const table = store.table<number>('event-runs');
  // The clock keeps the numbers growing where an older database was put back; earlier versions counted microseconds alone.
  const byClock = Math.min(Math.ceil((wall() * 1000) / numbersOfRun), runsByClock);
  const run = Math.max(byClock, (table.get('last') ?? 0) + 1);
  await table.put('last', run);
  return run * numbersOfRun;
}

/**
 * The events of one run of the daemon.
 * @param host its uuid
 * @param first the number of the first
 */
export function createHostEvents(host: string, first: number): HostEvents {
  const log: HostEvent[] = [];
  let dropped = 0;
  let closed = false;
  const waiting = new Map<() => void, (event: HostEvent) => boolean>();
  const next = () => first + dropped + log.length;
  const newer = (since: number) => log.slice(Math.max(0, since - first - dropped));
  return {
    emit(event) {
      log.push(event);
      if (log.length > kept) dropped += log.splice(0, log.length - kept).length;
      for (const [end, isAwaited] of waiting) if (isAwaited(event)) end();
    },
    async after(asked, timeoutSeconds) {
      // To a follower with a number of another run every event of this run is news.
      const isOfThisRun = asked >= first && asked <= next();
      const since = isOfThisRun ? asked : first;
      const timeoutMs = isOfThisRun ? timeoutSeconds * 1000 : 0;
      if (since >= next() && !closed && timeoutMs > 0) await wait(waiting, timeoutMs, () => true);
      if (!closed && timeoutMs > 0 && since < next() && newer(since).every(isProgress)) {
        await wait(waiting, Math.min(gatherMs, timeoutMs), (event) => !isProgress(event));
      }
      if (closed) throw new XapiError('HOST_OFFLINE', [host], 'the daemon of the host stops');
      return { events: newer(since), next: next() };
    },
    close() {
      closed = true;
      for (const end of waiting.keys()) end();
    },
  };
}

/** Wait for an event that is awaited, or the time to be over. */
async function wait(
  waiting: Map<() => void, (event: HostEvent) => boolean>,
  milliseconds: number,
  isAwaited: (event: HostEvent) => boolean,
): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      waiting.delete(end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    waiting.set(end, isAwaited);
  });
}
