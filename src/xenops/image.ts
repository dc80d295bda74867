/**
 * The save or restore of one suspend image over channels, for a migration, a suspend or a resume.
 *
 * The daemon writes and reads the image's signature and headers; between them emu-manager has the descriptor. Under the zstd
 * pipe the descriptor is the plain end of the compressor. The image counts as received only when all of it came: END of the
 * memory stream and emu-manager's result, one End of image, the end of the stream with nothing behind it, the codec's exit
 * status 0.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { DomainSaved, DomainSaveInit, SaveHelper } from '../backend/save-helper.js';
import { untilAborted, within } from '../base/deadline.js';
import { defined } from '../base/defined.js';
import type { DomainHandle } from '../base/domain.js';
import { XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { HelperSettings } from '../base/process/helper-process.js';
import type { CopyFigures } from '../base/protocol/emu-protocol.js';
import { streamFailureOf } from '../base/stream-error.js';
import type { RawStream } from '../wire/connection/raw-socket.js';
import { openCompressor, openDecompressor, type ZstdCommand, type ZstdPipe } from '../wire/connection/zstd-pipe.js';
import {
  decodeHeader,
  decodeXenops,
  encodeHeader,
  encodeSignature,
  encodeXenops,
  type HeaderType,
  headerBytes,
  type ImageHeader,
  signatureBytes,
  verifySignature,
} from '../wire/stream/suspend-image.js';
import { type Every, type Watched, type WatchInit, watchProgress } from './progress-watch.js';
import { openSendQueues, untilTaken } from './send-queues.js';

export interface ImageChannels {
  readonly memory: RawStream;
  /** The channels of the virtual GPUs, by device. */
  readonly vgpu: ReadonlyMap<string, RawStream>;
}

/** Times in milliseconds. */
export interface ImageLimits extends HelperSettings {
  /** For how long the copy may move nothing, or too little; the time in which the guest suspends does not count. */
  readonly progressTimeoutMs: number;
  /** For how long more, in all, a restore may receive nothing, as the guest may be suspending at the source. */
  readonly suspendTimeoutMs: number;
}

export interface ImageInit extends Pick<WatchInit, 'place'> {
  readonly helper: SaveHelper;
  readonly limits: ImageLimits;
  readonly handle: DomainHandle;
  readonly channels: ImageChannels;
  /** How zstd is run; present where each channel carries one zstd stream. */
  readonly zstd?: ZstdCommand;
  /** How long the codec, the end of the stream and a helper's exit may take once the rest is done, in milliseconds. */
  readonly endTimeoutMs: number;
  readonly signal: AbortSignal;
  readonly log: Log;
  /** Stands in for the system's timer of the progress watch, in tests. */
  readonly every?: Every;
  /** @param percent 0 to 100 */
  onProgress(percent: number): void;
  /** Called when a process was started for the image. */
  onHelper?(helper: { readonly name: 'emu-manager' | 'zstd'; readonly pid: number }): void;
  /** Called when emu-manager runs, and is about to write or read the first page. */
  onBegin?(): Promise<void>;
}

type Saving = Pick<DomainSaveInit, 'live' | 'compression' | 'convergence' | 'link' | 'onSuspend' | 'onFigures'>;

export interface SaveInit extends ImageInit, Saving {
  /** The description of the VM in the image's header. */
  readonly vmStr: string;
  /** Called when all but the last header is out: from now on the other side can have the whole image. */
  onEnd?(): void;
  /** Called when the image is out and its streams are closed, though the peer may not have everything. */
  onOut?(): Promise<void>;
  /** Resolves when the peer says that it has the whole image; absent where it will not. */
  readonly received?: Promise<void> | undefined;
}

export interface SaveResult {
  /** The arguments that emu-manager got. */
  readonly emuFlags: readonly string[];
  readonly rounds?: number;
  readonly guestBytes?: number;
  /** Bytes on the memory channel. */
  readonly wireBytes?: number;
  /** Bytes on the channels of virtual GPUs. */
  readonly vgpuWireBytes?: number;
  /** The last figures of the copy, where emu-manager gave some. */
  readonly copy?: CopyFigures;
}

/** How long to wait for a codec's error after another failure, in milliseconds: a codec that dies breaks its channel first. */
const codecGraceMs = 500;

/** One channel with the codec, if any, that stands between the channel and the plain bytes. */
interface Stream {
  readonly plain: RawStream;
  readonly pipe?: ZstdPipe;
}

/** Save a domain into the channels until the peer has everything, and close the channels. */
export async function saveImage(init: SaveInit): Promise<SaveResult> {
  const queues = openSendQueues(init.channels.memory, init.channels.vgpu);
  const { memory, vgpu, streams } = await openStreams(init, openCompressor);
  const watched: Watched = { ofEmu: ['written'], ofCodec: ['read', 'written'], queues };
  return withStreams(init, streams, watched, async (attempt) => {
    const headers = { memory: 0, vgpu: 0 };
    let copy: CopyFigures | undefined;
    const write = async (to: Stream, ...parts: Buffer[]) => {
      const bytes = Buffer.concat(parts);
      headers[to === memory ? 'memory' : 'vgpu'] += bytes.length;
      await to.plain.write(bytes);
    };
    const xenops = encodeXenops(init.vmStr);
    await write(memory, encodeSignature(), encodeHeader('xenops', xenops.length), xenops);
    for (const stream of streams) stream.plain.setBlocking(true);
    const { live, compression, convergence, link } = init;
    const saved = await init.helper.save(init.handle, {
      ...streamInit(init, attempt, memory, vgpu),
      ...defined({ live, compression, convergence, link }),
      async beforeMemory() {
        await begin(init, attempt);
        await write(memory, encodeHeader('libxc'));
      },
      async beforeVgpus() {
        for (const stream of vgpu.values()) await write(stream, encodeHeader('vgpu'));
      },
      onSuspend: () => attempt.own(init.onSuspend),
      onFigures(figures) {
        copy = figures;
        init.onFigures?.(figures);
      },
    });
    for (const stream of streams) stream.plain.setBlocking(false);
    init.onEnd?.();
    for (const stream of streams) await write(stream, encodeHeader('end'));
    for (const stream of streams) stream.plain.destroy();
    const codecs = codecResults(streams);
    const ending = { timeoutMs: init.endTimeoutMs, received: init.received, signal: attempt.signal };
    const out = codecs.then(() => (init.onOut === undefined ? undefined : attempt.own(init.onOut)));
    const [results] = await Promise.all([untilTaken({ queues, codecs, ...ending }), out]);
    const known = report(saved, headers, results);
    return copy === undefined ? known : { ...known, copy };
  });
}

function report(
  { argv, statistics }: DomainSaved,
  headers: { readonly memory: number; readonly vgpu: number },
  [compressed, ...vgpus]: readonly ({ readonly bytesOut?: number } | undefined)[],
): SaveResult {
  const { rounds, guestBytes, streamBytes, vgpuBytes } = statistics;
  const wireBytes = compressed === undefined ? total([streamBytes, headers.memory]) : compressed.bytesOut;
  const isPiped = vgpus.some((codec) => codec !== undefined);
  const vgpuWireBytes = isPiped ? total(vgpus.map((codec) => codec?.bytesOut)) : total([vgpuBytes, headers.vgpu]);
  return {
    emuFlags: argv,
    ...(rounds === undefined ? {} : { rounds }),
    ...(guestBytes === undefined ? {} : { guestBytes }),
    ...(wireBytes === undefined ? {} : { wireBytes }),
    ...(vgpuWireBytes === undefined ? {} : { vgpuWireBytes }),
  };
}

/** The sum; undefined where a part is not known. */
function total(parts: readonly (number | undefined)[]): number | undefined {
  return parts.reduce((sum, part) => (sum === undefined || part === undefined ? undefined : sum + part), 0);
}

/** Restore a domain in the state `building` from the channels. Resolves when the whole image was received. */
export async function restoreImage(init: ImageInit): Promise<void> {
  const { memory, vgpu, streams } = await openStreams(init, openDecompressor);
  const { place, limits } = init;
  const waits = { pausesMs: limits.suspendTimeoutMs, place };
  const watched: Watched = { ofEmu: ['read'], ofCodec: ['written'], queues: new Map(), ...waits };
  await withStreams(init, streams, watched, async (attempt) => {
    // Reading a descriptor in blocking mode would hold up the daemon, so a descriptor gets that mode only when its helper takes it.
    await init.helper.restore(init.handle, {
      ...streamInit(init, attempt, memory, vgpu),
      async beforeMemory() {
        await readToMemoryStream(memory.plain);
        memory.plain.setBlocking(true);
        await begin(init, attempt);
      },
      async beforeVgpus() {
        for (const { plain } of vgpu.values()) {
          await expectHeader(plain, 'vgpu');
          plain.setBlocking(true);
        }
      },
    });
    for (const stream of streams) stream.plain.setBlocking(false);
    for (const stream of streams) await readToEnd(stream.plain, init.endTimeoutMs);
    for (const stream of streams) stream.plain.destroy();
    await within(codecResults(streams), init.endTimeoutMs, 'no end of the codec');
  });
}

async function begin({ onBegin }: ImageInit, { own }: Running): Promise<void> {
  if (onBegin !== undefined) await own(onBegin);
}

function codecResults(streams: readonly Stream[]) {
  return Promise.all(streams.map(({ pipe }) => pipe?.done));
}

async function expectHeader(from: RawStream, type: HeaderType, timeoutMs?: number): Promise<ImageHeader> {
  const header = decodeHeader(await from.read(headerBytes, timeoutMs));
  if (header.type === type) return header;
  throw new XapiError('INTERNAL_ERROR', [`suspend image: ${header.type} in place of ${type}`]);
}

async function readToMemoryStream(from: RawStream): Promise<void> {
  verifySignature(await from.read(signatureBytes));
  const { length } = await expectHeader(from, 'xenops');
  decodeXenops(await from.read(length));
  await expectHeader(from, 'libxc');
}

async function readToEnd(from: RawStream, timeoutMs: number): Promise<void> {
  await expectHeader(from, 'end', timeoutMs);
  await from.readEnd(timeoutMs);
}

function streamInit(init: ImageInit, { signal, emus }: Running, memory: Stream, vgpu: ReadonlyMap<string, Stream>) {
  const { environment, stopTimeoutMs } = init.limits;
  return {
    ...{ environment, stopTimeoutMs, signal },
    exitTimeoutMs: init.endTimeoutMs,
    memory: memory.plain,
    vgpus: [...vgpu.values()].map(({ plain }) => plain),
    log: init.log,
    onProgress: init.onProgress,
    onStarted(pid: number) {
      emus.push(pid);
      init.onHelper?.({ name: 'emu-manager', pid });
    },
  };
}

type Open = (command: ZstdCommand, channel: RawStream, settings: HelperSettings) => Promise<ZstdPipe>;

/** The streams of all channels; where one does not open, those that did are closed. */
async function openStreams({ channels, zstd, limits, onHelper }: ImageInit, open: Open) {
  const streams: Stream[] = [];
  const add = async (channel: RawStream): Promise<Stream> => {
    const pipe = zstd === undefined ? undefined : await open(zstd, channel, limits);
    const stream: Stream = pipe === undefined ? { plain: channel } : { plain: pipe.plain, pipe };
    streams.push(stream);
    if (pipe !== undefined) onHelper?.({ name: 'zstd', pid: pipe.pid });
    return stream;
  };
  try {
    const memory = await add(channels.memory);
    const vgpu = new Map<string, Stream>();
    for (const [device, channel] of channels.vgpu) vgpu.set(device, await add(channel));
    return { memory, vgpu, streams };
  } catch (error) {
    for (const { plain } of streams) plain.destroy();
    await Promise.all(streams.map(({ pipe }) => pipe?.stop()));
    throw error;
  }
}

/** An image that is being saved or restored. */
interface Running {
  /** Aborted when something has failed, or from outside. */
  readonly signal: AbortSignal;
  /** The emu-manager processes that were started. */
  readonly emus: number[];
  /** Do a step of the daemon's own, whose error is the cause, whatever the other side says of the stream that ends then. */
  own(step: () => Promise<void>): Promise<void>;
}

/** Run the work; the first failure, of a codec too, ends the rest. No process is left at the end. */
async function withStreams<T>(
  init: ImageInit,
  streams: readonly Stream[],
  { ofEmu, ofCodec, ...watched }: Watched,
  work: (running: Running) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const signal = AbortSignal.any([init.signal, stop.signal]);
  let codecFailure: unknown;
  // Errors that follow the first, here and at the other side, are no cause.
  let first: unknown;
  const fail = (error: unknown): void => {
    if (!signal.aborted) first = error;
    stop.abort(error);
  };
  for (const { pipe } of streams) {
    pipe?.done.catch((error: unknown) => {
      if (streamFailureOf(error) !== 'broken-stream') {
        codecFailure ??= error;
        return stop.abort(error);
      }
      // A codec or a helper that has ended first is about to say why.
      return delay(codecGraceMs, undefined, { ref: false }).then(() => stop.abort(error));
    });
  }
  const emus: number[] = [];
  const codecs = streams.flatMap(({ pipe }) => (pipe === undefined ? [] : [pipe.pid]));
  const watch = watchProgress({
    ...watched,
    pids: () => (codecs.length > 0 ? codecs : emus),
    directions: codecs.length > 0 ? ofCodec : ofEmu,
    limitMs: init.limits.progressTimeoutMs,
    ...(init.every === undefined ? {} : { every: init.every }),
    onStall: fail,
  });
  const own = (step: () => Promise<void>): Promise<void> =>
    watch.without(step).catch((error: unknown) => {
      fail(error);
      throw error;
    });
  const running = work({ signal, emus, own });
  try {
    return await untilAborted(running, signal);
  } catch (error) {
    stop.abort(error);
    for (const { plain } of streams) plain.destroy();
    const exits = Promise.allSettled(streams.map(({ pipe }) => pipe?.done));
    await Promise.race([exits, delay(codecGraceMs)]);
    const cause = first ?? (init.signal.aborted ? init.signal.reason : (codecFailure ?? error));
    await Promise.all(streams.map(({ pipe }) => pipe?.stop()));
    await Promise.allSettled([exits, running]);
    throw cause;
  } finally {
    watch.end();
  }
}
