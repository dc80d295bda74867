/** What happens on a host, numbered, for its coordinator to follow by a long poll. */
import { XapiError } from '../base/errors.js';
import type { HostEvent } from './service.js';

export interface HostEvents {
  emit(event: HostEvent): void;
  /** Events after number `since`, oldest first; waits up to `timeoutSeconds` for one. */
  after(since: number, timeoutSeconds: number): Promise<{ events: HostEvent[]; next: number }>;
  /** Whoever waits is told now that the host stops, and everyone who asks later. */
  close(): void;
}

/** How many events are kept; a follower that falls behind reads the host's state anew. */
const kept = 10_000;

/** The events of one run of the daemon; their numbers go on from those of earlier runs. */
export function createHostEvents(): HostEvents {
  // Numbers go on across restarts of the daemon, as microseconds do.
  const first = Date.now() * 1000;
  const log: HostEvent[] = [];
  let dropped = 0;
  let closed = false;
  const waiting = new Set<() => void>();
  const next = () => first + dropped + log.length;
  const wake = () => {
    for (const resolve of waiting) resolve();
  };
  return {
    emit(event) {
      log.push(event);
      if (log.length > kept) dropped += log.splice(0, log.length - kept).length;
      wake();
    },
    async after(since, timeoutSeconds) {
      if (since >= next() && !closed && timeoutSeconds > 0) await wait(waiting, timeoutSeconds);
      if (closed) throw new XapiError('HOST_OFFLINE', ['the daemon of the host stops']);
      const skip = Math.max(0, since - first - dropped);
      return { events: log.slice(skip), next: next() };
    },
    close() {
      closed = true;
      wake();
    },
  };
}

async function wait(waiting: Set<() => void>, seconds: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = () => {
      clearTimeout(timer);
      waiting.delete(end);
      resolve();
    };
    const timer = setTimeout(end, seconds * 1000);
    waiting.add(end);
  });
}
