/** Guest pages into the memory stream, plain or compressed. */
import { pageSize } from '../base/hypervisor-protocol.js';
import {
  maxPagesWritten,
  pageHeadBytes,
  recordHeaderBytes,
  recordTypes,
  writePageHead,
  writeRecordHeader,
} from '../wire/libxc-stream.js';
import { type Codec, compressPages, encodePages, maxPagesCompressed } from '../wire/page-codec.js';
import { createEffortChooser, levelFor } from './compression-level.js';
import type { Sink } from './descriptor.js';
import { readPages } from './domain-memory.js';
import { createPageClassifier, type PageContent } from './page-content.js';

export interface PageSender {
  /** Send pages; some may still be under way when it resolves. @param pfns at most `atMost` numbers in rising order */
  send(pfns: readonly number[]): Promise<void>;
  /** Resolves when all pages are written. The copies of a page in two rounds need it between them. */
  flush(): Promise<void>;
  readonly atMost: number;
}

/** PAGE_DATA records. @param memoryFd the domain's memory file */
export function createPlainSender(memoryFd: number, sink: Sink): PageSender {
  const buffer = Buffer.alloc(recordHeaderBytes + pageHeadBytes(maxPagesWritten) + maxPagesWritten * pageSize);
  return {
    atMost: maxPagesWritten,
    async send(pfns) {
      const dataAt = recordHeaderBytes + pageHeadBytes(pfns.length);
      const end = dataAt + pfns.length * pageSize;
      writeRecordHeader(buffer, recordTypes.pageData, end - recordHeaderBytes);
      writePageHead(buffer, recordHeaderBytes, pfns);
      readPages(memoryFd, pfns, buffer.subarray(dataAt, end));
      await sink.write(buffer.subarray(0, end));
    },
    flush: async () => undefined,
  };
}

/** Pages gathered for one record. */
interface Batch {
  readonly pfns: number[];
  readonly data: Buffer;
}

type Kind = Exclude<PageContent, 'zero'>;

/** Records being compressed or waiting to be written, besides those being gathered: keeps both cores of a small host busy. */
const inFlight = 4;
/** Pages gathered for a frame: four times as many save 0.3% of the bytes and cost the memory. */
const pagesGathered = 256;
/** Pages read at a time, little enough to stay in the processor's cache until they are sorted. */
const pagesRead = 128;

/**
 * Records of page-codec: pages are sorted by what they look like, zeros only named, random ones stored, the others compressed.
 * Compression runs beside reading and writing; memory stays bounded by a fixed number of batches.
 */
export function createCompressedSender(memoryFd: number, sink: Sink): PageSender {
  const incoming = Buffer.alloc(pagesRead * pageSize);
  const classify = createPageClassifier();
  const effort = createEffortChooser();
  const batches = createBatches();
  const gathered: Record<Kind, Batch> = { random: batches.take(), text: batches.take(), binary: batches.take() };
  const underWay: Promise<void>[] = [];
  const zeros: number[] = [];
  let lastWrite = Promise.resolve();

  const write = (codec: Codec, pfns: readonly number[], payload: Buffer): Promise<void> => {
    const pieces = encodePages(codec, pfns, payload);
    lastWrite = lastWrite.then(() => sink.write(...pieces));
    return lastWrite;
  };
  const writeBatch = async (kind: Kind, { pfns, data }: Batch) => {
    const raw = data.subarray(0, pfns.length * pageSize);
    if (kind === 'random') return write('stored', pfns, raw);
    const frame = await compressPages(raw, levelFor(kind, effort.next()));
    effort.frameReady();
    await (frame.length < raw.length ? write('zstd', pfns, frame) : write('stored', pfns, raw));
    effort.frameTaken();
  };
  const sendBatch = async (kind: Kind) => {
    const batch = gathered[kind];
    const job = writeBatch(kind, batch).then(() => batches.give(batch));
    job.catch(() => undefined);
    underWay.push(job);
    if (underWay.length > inFlight) await underWay.shift();
    gathered[kind] = batches.take();
  };
  const sendZeros = () => write('zero', zeros.splice(0), Buffer.alloc(0));

  return {
    atMost: pagesRead,
    async send(pfns) {
      readPages(memoryFd, pfns, incoming);
      for (let index = 0; index < pfns.length; index += 1) {
        const at = index * pageSize;
        const pfn = pfns[index] as number;
        const kind = classify(incoming, at);
        if (kind === 'zero') {
          if (zeros.push(pfn) === maxPagesCompressed) await sendZeros();
          continue;
        }
        const batch = gathered[kind];
        incoming.copy(batch.data, batch.pfns.length * pageSize, at, at + pageSize);
        if (batch.pfns.push(pfn) === pagesGathered) await sendBatch(kind);
      }
    },
    async flush() {
      for (const kind of ['random', 'text', 'binary'] as const)
        if (gathered[kind].pfns.length > 0) await sendBatch(kind);
      if (zeros.length > 0) await sendZeros();
      await Promise.all(underWay.splice(0));
    },
  };
}

/** Batches that are used again; as many are made as there are in use at a time. */
function createBatches() {
  const free: Batch[] = [];
  return {
    take: (): Batch => free.pop() ?? { pfns: [], data: Buffer.alloc(pagesGathered * pageSize) },
    give(batch: Batch): void {
      batch.pfns.length = 0;
      free.push(batch);
    },
  };
}
