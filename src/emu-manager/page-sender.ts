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
import type { Sink } from './descriptor.js';
import { readPages } from './domain-memory.js';
import { createPageClassifier } from './page-content.js';

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

/** Records being compressed or waiting to be written, besides the two being gathered: keeps both cores of a small host busy. */
const inFlight = 3;
/** Pages read at a time, little enough to stay in the processor's cache until they are sorted. */
const pagesRead = 128;

/**
 * Records of page-codec: pages are sorted into zero, stored and compressed ones. Compression runs beside reading and writing;
 * memory stays bounded by a fixed number of batches.
 */
export function createCompressedSender(memoryFd: number, sink: Sink): PageSender {
  const incoming = Buffer.alloc(pagesRead * pageSize);
  const free: Batch[] = Array.from({ length: inFlight + 2 }, () => ({
    pfns: [],
    data: Buffer.alloc(maxPagesCompressed * pageSize),
  }));
  const underWay: Promise<void>[] = [];
  const classify = createPageClassifier();
  const zeros: number[] = [];
  let packed = free.pop() as Batch;
  let stored = free.pop() as Batch;
  let lastWrite = Promise.resolve();

  const write = (codec: Codec, pfns: readonly number[], payload: Buffer): Promise<void> => {
    const pieces = encodePages(codec, pfns, payload);
    lastWrite = lastWrite.then(() => sink.write(...pieces));
    return lastWrite;
  };
  const start = async (batch: Batch, work: () => Promise<void>): Promise<Batch> => {
    const job = work().then(() => {
      batch.pfns.length = 0;
      free.push(batch);
    });
    job.catch(() => undefined);
    underWay.push(job);
    while (free.length === 0) await underWay.shift();
    return free.pop() as Batch;
  };
  const sendPacked = async () => {
    const { pfns, data } = packed;
    if (pfns.length === 0) return;
    const raw = data.subarray(0, pfns.length * pageSize);
    packed = await start(packed, async () => {
      const frame = await compressPages(raw);
      await (frame.length < raw.length ? write('zstd', pfns, frame) : write('stored', pfns, raw));
    });
  };
  const sendStored = async () => {
    const { pfns, data } = stored;
    if (pfns.length === 0) return;
    stored = await start(stored, () => write('stored', pfns, data.subarray(0, pfns.length * pageSize)));
  };
  const sendZeros = () => write('zero', zeros.splice(0), Buffer.alloc(0));

  return {
    atMost: pagesRead,
    async send(pfns) {
      readPages(memoryFd, pfns, incoming);
      for (let index = 0; index < pfns.length; index += 1) {
        const at = index * pageSize;
        const pfn = pfns[index] as number;
        const content = classify(incoming, at);
        if (content === 'zero') {
          if (zeros.push(pfn) === maxPagesCompressed) await sendZeros();
          continue;
        }
        const batch = content === 'random' ? stored : packed;
        incoming.copy(batch.data, batch.pfns.length * pageSize, at, at + pageSize);
        if (batch.pfns.push(pfn) === maxPagesCompressed) await (batch === stored ? sendStored() : sendPacked());
      }
    },
    async flush() {
      await sendPacked();
      await sendStored();
      if (zeros.length > 0) await sendZeros();
      await Promise.all(underWay.splice(0));
    },
  };
}
