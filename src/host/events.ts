/** What happens on a host, numbered, for its coordinator to follow by a long poll. */
import { XapiError } from '../base/errors.js';
import type { HostEvent } from './service.js';

export interface HostEvents {
  emit(event: HostEvent): void;
  /** Events after number `since`, oldest first; waits up to `timeoutSeconds` for one, and a moment longer where it is mere progress. */
  after(since: number, timeoutSeconds: number): Promise<{ events: HostEvent[]; next: number }>;
  /** Whoever waits is told now that the host stops, and everyone who asks later. */
  close(): void;
}

/** How many events are kept; a follower that falls behind reads the host's state anew. */
const kept = 10_000;
/** So long progress waits for more to be told with it, unless something else happens: each answer costs both sides a call. */
const gatherMs = 250;

/** Whether an event tells nothing but how a migration goes. */
export function isProgress({ kind }: HostEvent): boolean {
  return kind === 'migration-progress' || kind === 'migration-figures';
}

/**
 * The events of one run of the daemon; their numbers go on from those of earlier runs.
 * @param host its uuid
 */
export function createHostEvents(host: string): HostEvents {
  // Numbers go on across restarts of the daemon, as microseconds do.
  const first = Date.now() * 1000;
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
    async after(since, timeoutSeconds) {
      const timeoutMs = timeoutSeconds * 1000;
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
