/** Pages of the memory stream, plain or compressed, into memory. */
import { pageSize } from '../../base/domain.js';
import { decodePageData, type ReadExactly } from '../../wire/stream/libxc-stream.js';
import { type CompressedPages, decodePages, maxPagesCompressed } from '../../wire/stream/page-codec.js';
import type { PageWriter } from '../memory/domain-memory.js';
import type { Source } from '../process/descriptor.js';

/** Reads of up to so many bytes get a buffer of their own. */
const smallRead = 1 << 16;
const largeRead = 5 << 20;

/**
 * Reads into a ring of buffers, one more than there are records being expanded: a large read may be used until as many other large
 * ones were begun.
 */
export function createRingReader(source: Source, expanding: number): ReadExactly {
  const ring = Array.from({ length: expanding + 1 }, () => Buffer.allocUnsafeSlow(largeRead));
  let turn = 0;
  return async (bytes) => {
    let buffer: Buffer;
    if (bytes <= smallRead) buffer = Buffer.allocUnsafe(bytes);
    else if (bytes > largeRead) buffer = Buffer.allocUnsafeSlow(bytes);
    else {
      buffer = (ring[turn] as Buffer).subarray(0, bytes);
      turn = (turn + 1) % ring.length;
    }
    await source.readInto(buffer);
    return buffer;
  };
}

/** A stream without compressed pages does without it. */
const loadFrames = () => import('../../wire/stream/page-frames.js');

export interface PageReceiver {
  /** Take a PAGE_DATA record. @throws as decoding it, and when a page is not of the domain */
  plain(body: Buffer): Promise<void>;
  /** Take a record of compressed pages; the body is in use until `end`, or until it is no longer among the last. @throws as plain */
  compressed(body: Buffer): Promise<void>;
  /** Resolves when all that was taken is in memory. */
  end(): Promise<void>;
  /** Pages taken so far. */
  received(): number;
}

/**
 * Puts pages into memory in the order in which their records came, while other threads expand what follows.
 * @param expanding frames that may be with other threads while this one reads on; with none this thread expands them
 */
export function createPageReceiver(writer: PageWriter, expanding: number): PageReceiver {
  const underWay: Promise<void>[] = [];
  let last = Promise.resolve();
  let received = 0;
  const end = async () => {
    await Promise.all(underWay.splice(0));
  };
  const rooms: Buffer[] = [];
  const takeRoom = () => rooms.pop() ?? Buffer.allocUnsafeSlow(maxPagesCompressed * pageSize);
  const putBeside = async (pages: CompressedPages) => {
    const { expandPages } = await loadFrames();
    const room = takeRoom();
    const expanded = expandPages(pages, room);
    last = Promise.all([expanded, last]).then(([data]) => {
      writer.write({ pfns: pages.pfns, data });
      rooms.push(room);
    });
    last.catch(() => undefined);
    underWay.push(last);
    if (underWay.length > expanding) await underWay.shift();
  };
  return {
    received: () => received,
    end,
    async plain(body) {
      const pages = decodePageData(body);
      await end();
      writer.write(pages);
      received += pages.pfns.length;
    },
    async compressed(body) {
      const pages = decodePages(body);
      received += pages.pfns.length;
      if (pages.codec === 'zstd' && expanding > 0) return putBeside(pages);
      await end();
      if (pages.codec === 'zero') return writer.clear(pages.pfns);
      const { expandPagesHere } = await loadFrames();
      const room = takeRoom();
      writer.write({ pfns: pages.pfns, data: expandPagesHere(pages, room) });
      rooms.push(room);
    },
  };
}
