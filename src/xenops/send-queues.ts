/** What was written of an image and is not at the peer yet: it is sent on after the helpers have ended and the channels were closed. */
import { setTimeout } from 'node:timers/promises';
import { XapiError } from '../base/errors.js';
import { type RawStream, socketInode } from '../wire/raw-socket.js';
import { openSendQueue } from '../wire/send-queue.js';

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

/**
 * Resolves, as `codecs` does, when the peer has everything too. However long it takes what waits: who watches the progress ends it.
 * @param timeoutMs so long the codecs may take while nothing waits
 */
export async function untilTaken<T>(
  queues: SendQueues,
  codecs: Promise<T>,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<T> {
  let over = false;
  const end = codecs.then(() => {
    over = true;
  });
  for (let since = performance.now(); ; ) {
    signal.throwIfAborted();
    const now = performance.now();
    if ([...queues.values()].some((bytes) => bytes() > 0)) since = now;
    else if (over) return codecs;
    else if (now - since > timeoutMs) {
      throw new XapiError('INTERNAL_ERROR', [`no end of the codec within ${timeoutMs / 1000} s`]);
    }
    // A machine with many sockets takes a while to tell.
    const pause = setTimeout(Math.max(2, 10 * (performance.now() - now)));
    await (over ? pause : Promise.race([end, pause]));
  }
}
