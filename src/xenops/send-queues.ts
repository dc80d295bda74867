/** What was written of an image and is not at the peer yet: it is sent on after the helpers have ended and the channels were closed. */
import { setTimeout as delay } from 'node:timers/promises';
import { within } from '../base/deadline.js';
import { XapiError } from '../base/errors.js';
import { type RawStream, socketInode } from '../wire/connection/raw-socket.js';
import { openSendQueue } from '../wire/connection/send-queue.js';

/** Of each channel, by name, a function that gives the bytes; of a file none ever wait. */
export type SendQueues = ReadonlyMap<string, () => number>;

/** Before a helper gets the channels. */
export function openSendQueues(memory: RawStream, vgpu: ReadonlyMap<string, RawStream>): SendQueues {
  const queueOf = ({ fd }: RawStream) => openSendQueue(socketInode(fd));
  return new Map([
    ['memory channel', queueOf(memory)],
    ...[...vgpu].map(([device, channel]) => [`channel of vGPU ${device}`, queueOf(channel)] as const),
  ]);
}

export interface TakenInit<T> {
  readonly queues: SendQueues;
  /** The end of what writes to the channels. */
  readonly codecs: Promise<T>;
  /** The peer says that it has everything. Where it will, nobody has to look soon. */
  readonly received?: Promise<void> | undefined;
  /** So long the codecs may take while nothing waits, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Before the first look where the peer will say so: the guest stands still meanwhile. */
const firstLookMs = 50;
const looksMs = 2;

/**
 * Resolves, as `codecs` does, when the peer has everything too. However long it takes what waits: who watches the progress ends it.
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
    // A machine with many sockets takes a while to tell.
    const pause = delay(Math.max(looksMs, 10 * (performance.now() - now)));
    await (over ? pause : Promise.race([end, pause]));
  }
}
