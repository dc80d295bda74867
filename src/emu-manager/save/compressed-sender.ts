/**
 * Guest pages into the memory stream, compressed within it.
 *
 * Pages are sorted by what they look like: zeros and repeated words are only named, random ones are stored, the others compressed,
 * by this thread too when those of the pool have enough to do. Records are written as they get ready, which mixes only pages of one
 * round. Memory stays bounded by a fixed number of batches, which are used again.
 */
import { setImmediate } from 'node:timers/promises';
import { pageSize } from '../../base/domain.js';
import type { CompressionLevel } from '../../base/protocol/emu-protocol.js';
import { frameRoom } from '../../base/zstd/way.js';
import { type Codec, encodePages, maxPagesCompressed, wordBytes } from '../../wire/stream/page-codec.js';
import { compressPages, compressPagesHere } from '../../wire/stream/page-frames.js';
import { readPages } from '../memory/domain-memory.js';
import { createPageClassifier, isZero, zeroRun } from '../memory/page-content.js';
import type { Sink } from '../process/descriptor.js';
import { createLevelChooser } from './compression-level.js';
import type { PageSender } from './page-sender.js';

export interface CompressedSenderInit {
  /** The domain's memory file. */
  readonly memoryFd: number;
  readonly sink: Sink;
  /** Bytes that the system has taken of the stream and the peer has not. */
  readonly queued: () => number;
  readonly level: CompressionLevel;
  /** Cores of this machine: as many frames are with the pool at a time, and this thread compresses what comes beyond that. */
  readonly threads: number;
}

/** Pages of one kind, gathered for one record. */
interface Batch {
  readonly pfns: number[];
  readonly data: Buffer;
  /** Where their frame goes. */
  readonly room: Buffer;
}

const kinds = ['random', 'text', 'binary'] as const;
type Kind = (typeof kinds)[number];

/** Records that wait for the stream, besides those being compressed and gathered. */
const mostWaiting = 4;
/** Pages gathered for a frame: four times as many save 0.3% of the bytes and cost the memory. */
const pagesGathered = 256;
/** Pages read at a time, little enough to stay in the processor's cache until they are sorted. */
const pagesRead = 128;

export function createCompressedSender({ memoryFd, sink, queued, level, threads }: CompressedSenderInit): PageSender {
  const chooser = createLevelChooser(level, { waiting: sink.waiting, written: () => sink.written, queued });
  const sorter = createSorter();
  const underWay: Promise<void>[] = [];
  let compressing = 0;

  const write = async (codec: Codec, pfns: readonly number[], payload: Buffer): Promise<void> => {
    if (codec === 'stored' || codec === 'zstd') chooser.sent(pfns.length * pageSize);
    await sink.write(...encodePages(codec, pfns, payload));
  };
  const compressBeside = async (raw: Buffer, to: number, room: Buffer): Promise<Buffer> => {
    compressing += 1;
    try {
      return await compressPages(raw, to, room);
    } finally {
      compressing -= 1;
    }
  };
  const sendBatch = async (kind: Kind) => {
    const batch = sorter.takeBatch(kind);
    const raw = batch.data.subarray(0, batch.pfns.length * pageSize);
    const to = kind === 'random' ? undefined : chooser.levels()?.[kind];
    const isBeside = to !== undefined && compressing < threads;
    const compress = isBeside ? compressBeside : compressPagesHere;
    const frame = to === undefined ? raw : compress(raw, to, batch.room);
    // `abort`, and what the stream and the other threads have done meanwhile, is only heard of in between.
    if (!isBeside) await setImmediate();
    const job = (async () => {
      const ready = await frame;
      await (ready.length < raw.length ? write('zstd', batch.pfns, ready) : write('stored', batch.pfns, raw));
      sorter.giveBack(batch);
    })();
    job.catch(() => undefined);
    underWay.push(job);
    if (underWay.length > threads + mostWaiting) await underWay.shift();
  };
  // What the system takes at once would never let the event loop turn, and no `abort` be heard.
  const sendZeros = async () => {
    await write('zero', sorter.takeZeros(), Buffer.alloc(0));
    await setImmediate();
  };
  const sendRepeated = async () => {
    await write('repeated', ...sorter.takeRepeated());
    await setImmediate();
  };

  return {
    atMost: pagesRead,
    level: chooser.word,
    async send(pfns) {
      readPages(memoryFd, pfns, sorter.incoming);
      for (let first = 0; first < pfns.length; first += zeroRun) {
        const end = Math.min(first + zeroRun, pfns.length);
        if (!sorter.takeIfZero(pfns, first, end)) {
          for (let index = first; index < end; index += 1) {
            const full = sorter.take(pfns[index] as number, index);
            if (full !== undefined) await sendBatch(full);
          }
        }
        if (sorter.hasManyZeros()) await sendZeros();
        if (sorter.hasManyRepeated()) await sendRepeated();
      }
    },
    async flush() {
      for (const kind of kinds) if (sorter.has(kind)) await sendBatch(kind);
      if (sorter.hasZeros()) await sendZeros();
      if (sorter.hasRepeated()) await sendRepeated();
      await Promise.all(underWay.splice(0));
    },
  };
}

function newBatch(): Batch {
  const bytes = pagesGathered * pageSize;
  return { pfns: [], data: Buffer.alloc(bytes), room: Buffer.allocUnsafeSlow(frameRoom(bytes)) };
}

/** Sorts pages that were read into its buffer. */
function createSorter() {
  const incoming = Buffer.alloc(pagesRead * pageSize);
  const classify = createPageClassifier();
  const free: Batch[] = [];
  const take = (): Batch => free.pop() ?? newBatch();
  const gathered: Record<Kind, Batch> = { random: take(), text: take(), binary: take() };
  const zeros: number[] = [];
  const repeated: number[] = [];
  const words = Buffer.alloc(maxPagesCompressed * wordBytes);
  return {
    incoming,
    /** Take pages all of which are zeros, or none of them. */
    takeIfZero(pfns: readonly number[], first: number, end: number): boolean {
      if (!isZero(incoming, first * pageSize, (end - first) * pageSize)) return false;
      for (let index = first; index < end; index += 1) zeros.push(pfns[index] as number);
      return true;
    },
    /** Take a page. @param index where it is in the buffer @returns the kind of which there are enough for a record now */
    take(pfn: number, index: number): Kind | undefined {
      const at = index * pageSize;
      const content = classify(incoming, at);
      if (content === 'zero') {
        zeros.push(pfn);
        return undefined;
      }
      if (content === 'repeated') {
        incoming.copy(words, repeated.length * wordBytes, at, at + wordBytes);
        repeated.push(pfn);
        return undefined;
      }
      const { pfns, data } = gathered[content];
      incoming.copy(data, pfns.length * pageSize, at, at + pageSize);
      return pfns.push(pfn) === pagesGathered ? content : undefined;
    },
    has: (kind: Kind) => gathered[kind].pfns.length > 0,
    /** What was gathered of a kind; to be given back. */
    takeBatch(kind: Kind): Batch {
      const batch = gathered[kind];
      gathered[kind] = take();
      return batch;
    },
    giveBack(batch: Batch): void {
      batch.pfns.length = 0;
      free.push(batch);
    },
    hasZeros: () => zeros.length > 0,
    hasManyZeros: () => zeros.length > maxPagesCompressed - zeroRun,
    takeZeros: () => zeros.splice(0),
    hasRepeated: () => repeated.length > 0,
    hasManyRepeated: () => repeated.length > maxPagesCompressed - zeroRun,
    takeRepeated: (): [number[], Buffer] => {
      const pfns = repeated.splice(0);
      return [pfns, Buffer.from(words.subarray(0, pfns.length * wordBytes))];
    },
  };
}
