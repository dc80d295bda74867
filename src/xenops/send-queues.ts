/**
 * Bytes of an image that were written into a channel's socket and are not at the peer yet. The system sends them on after the helpers
 * have ended and the channels were closed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { within } from '../base/deadline.js';
import { XapiError } from '../base/errors.js';
import { type RawStream, socketInode } from '../wire/connection/raw-socket.js';
import { openSendQueue } from '../wire/connection/send-queue.js';

/** For each channel, by name, a function that counts the bytes that wait in its socket; for a file there is none. */
export type SendQueues = ReadonlyMap<string, () => number>;

/** Open the queues of an image's channels. Call this before a helper gets the channels. */
export function openSendQueues(memory: RawStream, vgpu: ReadonlyMap<string, RawStream>): SendQueues {
  const queueOf = ({ fd }: RawStream) => openSendQueue(socketInode(fd));
  return new Map([
    ['memory channel', queueOf(memory)],
    ...[...vgpu].map(([device, channel]) => [`channel of vGPU ${device}`, queueOf(channel)] as const),
  ]);
}

export interface TakenInit<T> {
  readonly queues: SendQueues;
  /** Resolves when whatever writes to the channels has ended. */
  readonly codecs: Promise<T>;
  /** Resolves when the peer says that it has everything; absent where it will not say so. */
  readonly received?: Promise<void> | undefined;
  /** How long the codecs may take while nothing waits in the queues, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** How long to wait for the peer's word before the first look at the queues; the guest stands still meanwhile. */
const firstLookMs = 50;
const looksMs = 2;

/**
 * Wait until the peer has everything, however long the queues take: a copy that stalls is ended by the progress watch.
 * @returns what `codecs` resolves with
 * @throws what the codecs or `received` reject with, the signal's reason, and where the codecs take too long
 */
export async function untilTaken<T>(init: TakenInit<T>): Promise<T> {
  const { codecs, received, timeoutMs, signal } = init;
  const stop = new AbortController();
  const drained = untilDrained({ ...init, signal: AbortSignal.any([signal, stop.signal]) });
  drained.catch(() => undefined);
  try {
    await Promise.race([drained, received ?? drained]);
  } finally {
    stop.abort();
  }
  return within(codecs, timeoutMs, noEnd);
}

const noEnd = 'no end of the codec';

async function untilDrained<T>({ queues, codecs, received, timeoutMs, signal }: TakenInit<T>): Promise<void> {
  let over = false;
  const end = codecs.then(() => {
    over = true;
  });
  end.catch(() => undefined);
  if (received !== undefined) await delay(firstLookMs, undefined, { signal });
  for (let since = performance.now(); ; ) {
    signal.throwIfAborted();
    const now = performance.now();
    if ([...queues.values()].some((bytes) => bytes() > 0)) since = now;
    else if (over) return;
    else if (now - since > timeoutMs) throw new XapiError('INTERNAL_ERROR', [`${noEnd} within ${timeoutMs / 1000} s`]);
    // Counting takes long on a machine with many sockets, so the pause grows with it.
    const pause = delay(Math.max(looksMs, 10 * (performance.now() - now)));
    await (over ? pause : Promise.race([end, pause]));
  }
}
