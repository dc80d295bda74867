/**
 * A suspend image that goes, as it is, from the files of one host to those of another. Each part has a channel of its own; over it
 * come as many bytes as were announced, their SHA-256, and the end.
 */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { untilAborted, within } from '../base/deadline.js';
import { XapiError } from '../base/errors.js';
import type { HelperSettings } from '../base/process/helper-process.js';
import { streamFailureOf } from '../base/stream-error.js';
import type { RawStream } from '../wire/connection/raw-socket.js';
import { openCompressor, openDecompressor, type ZstdCommand, type ZstdPipe } from '../wire/connection/zstd-pipe.js';
import { awaitedRate } from './progress-watch.js';

/** One part: the memory, or a virtual GPU. */
interface ImagePart {
  readonly file: RawStream;
  readonly channel: RawStream;
  readonly bytes: number;
}

export interface TransferInit {
  readonly parts: readonly ImagePart[];
  /** How zstd is run; present where each channel carries one zstd stream. */
  readonly zstd?: ZstdCommand;
  readonly settings: HelperSettings;
  /** For how long the transfer may move no byte, in milliseconds. */
  readonly progressTimeoutMs: number;
  /** Whether another copy has waited too long for the place of one that is received; absent: none does. */
  readonly isAwaited?: () => boolean;
  /** A clock, in milliseconds. */
  readonly now?: () => number;
  readonly signal: AbortSignal;
  /** @param share 0 to 1 */
  onProgress?(share: number): void;
  /** Called when a process was started for the transfer. */
  onHelper?(helper: { readonly name: 'zstd'; readonly pid: number }): void;
}

const chunkBytes = 256 * 1024;
const digestBytes = 32;

/**
 * Send the parts, and close their files and channels.
 * @returns bytes on the channels, part by part; undefined where zstd did not tell
 */
export async function sendParts(init: TransferInit): Promise<readonly (number | undefined)[]> {
  const limit = <T>(work: Promise<T>) => within(work, init.progressTimeoutMs, 'the copy makes no progress');
  return transfer(init, openCompressor, async ({ file, bytes }, plain, moved) => {
    const hash = createHash('sha256');
    for (let left = bytes; left > 0; ) {
      const chunk = await file.read(Math.min(left, chunkBytes));
      hash.update(chunk);
      await limit(plain.write(chunk));
      left -= chunk.length;
      moved(chunk.length);
    }
    await limit(plain.write(hash.digest()));
    plain.destroy();
    return bytes + digestBytes;
  });
}

/** Receive the parts whole, and close their files and channels. @throws where something else came than was sent */
export async function receiveParts(init: TransferInit): Promise<void> {
  const { progressTimeoutMs, isAwaited, now = () => performance.now() } = init;
  const begun = now();
  let received = 0;
  const assertPace = (): void => {
    const enoughMs = progressTimeoutMs + (received * 1000) / awaitedRate;
    if (isAwaited?.() && now() - begun > enoughMs)
      throw new XapiError('INTERNAL_ERROR', ['the copy is too slow, while another waits for its place']);
  };
  await transfer(init, openDecompressor, async ({ file, bytes }, plain, moved) => {
    const hash = createHash('sha256');
    for (let left = bytes; left > 0; ) {
      const chunk = await plain.read(Math.min(left, chunkBytes), progressTimeoutMs);
      hash.update(chunk);
      await file.write(chunk);
      left -= chunk.length;
      moved(chunk.length);
      received += chunk.length;
      assertPace();
    }
    const told = await plain.read(digestBytes, progressTimeoutMs);
    if (!hash.digest().equals(told)) throw new XapiError('INTERNAL_ERROR', ['the suspend image is not what was sent']);
    await plain.readEnd(progressTimeoutMs);
    plain.destroy();
    return bytes + digestBytes;
  });
}

type Open = (command: ZstdCommand, channel: RawStream, settings: HelperSettings) => Promise<ZstdPipe>;
type Move = (part: ImagePart, plain: RawStream, moved: (bytes: number) => void) => Promise<number>;

/**
 * Move all parts side by side; what fails first ends the rest. When the promise is resolved or rejected no process is left, and
 * everything is closed.
 */
async function transfer(init: TransferInit, open: Open, move: Move): Promise<readonly (number | undefined)[]> {
  const total = init.parts.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const moved = (bytes: number): void => {
    done += bytes;
    init.onProgress?.(total === 0 ? 1 : done / total);
  };
  const streams: RawStream[] = init.parts.flatMap(({ file, channel }) => [file, channel]);
  const pipes: ZstdPipe[] = [];
  const one = async (part: ImagePart): Promise<number | undefined> => {
    const pipe = init.zstd === undefined ? undefined : await open(init.zstd, part.channel, init.settings);
    if (pipe === undefined) return move(part, part.channel, moved);
    pipes.push(pipe);
    streams.push(pipe.plain);
    init.onHelper?.({ name: 'zstd', pid: pipe.pid });
    try {
      await move(part, pipe.plain, moved);
    } catch (error) {
      throw (await causeOf(pipe)) ?? error;
    }
    const { bytesOut } = await within(pipe.done, init.progressTimeoutMs, 'no end of the codec');
    return bytesOut;
  };
  const works = init.parts.map(one);
  try {
    return await untilAborted(Promise.all(works), init.signal);
  } catch (error) {
    for (const stream of streams) stream.destroy();
    await Promise.all(pipes.map((pipe) => pipe.stop()));
    await Promise.allSettled(works);
    throw error;
  } finally {
    for (const stream of streams) stream.destroy();
  }
}

/** How long to wait for a codec's error after another failure, in milliseconds: a codec that dies breaks its channel first. */
const codecGraceMs = 500;

async function causeOf({ done }: ZstdPipe): Promise<unknown> {
  try {
    await Promise.race([done, delay(codecGraceMs)]);
    return undefined;
  } catch (error) {
    return streamFailureOf(error) === 'broken-stream' ? undefined : error;
  }
}
