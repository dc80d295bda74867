/** Guest pages into the memory stream, plain; compressed-sender.ts has the other way. */
import { setImmediate } from 'node:timers/promises';
import { pageSize } from '../../base/domain.js';
import {
  maxPagesWritten,
  pageHeadBytes,
  recordHeaderBytes,
  recordTypes,
  writePageHead,
  writeRecordHeader,
} from '../../wire/stream/libxc-stream.js';
import { readPages } from '../memory/domain-memory.js';
import type { Sink } from '../process/descriptor.js';

export interface PageSender {
  /** Send pages; some may still be under way when it resolves. @param pfns at most `atMost` numbers in rising order */
  send(pfns: readonly number[]): Promise<void>;
  /** Resolves when all pages are written. The copies of a page in two rounds need it between them. */
  flush(): Promise<void>;
  readonly atMost: number;
  /** How hard pages are compressed now, in a word: `none`, a level of zstd, or two. */
  level(): string;
}

/** PAGE_DATA records: one is read while the one before it is written. @param memoryFd the domain's memory file */
export function createPlainSender(memoryFd: number, sink: Sink): PageSender {
  const room = recordHeaderBytes + pageHeadBytes(maxPagesWritten) + maxPagesWritten * pageSize;
  const buffers = [Buffer.alloc(room), Buffer.alloc(room)] as const;
  let turn: 0 | 1 = 0;
  let written = Promise.resolve();
  return {
    atMost: maxPagesWritten,
    async send(pfns) {
      const buffer = buffers[turn];
      turn = turn === 0 ? 1 : 0;
      const dataAt = recordHeaderBytes + pageHeadBytes(pfns.length);
      const end = dataAt + pfns.length * pageSize;
      writeRecordHeader(buffer, recordTypes.pageData, end - recordHeaderBytes);
      writePageHead(buffer, recordHeaderBytes, pfns);
      readPages(memoryFd, pfns, buffer.subarray(dataAt, end));
      await written;
      // What the system takes at once would never let the event loop turn, and no `abort` be heard.
      await setImmediate();
      written = sink.write(buffer.subarray(0, end));
      written.catch(() => undefined);
    },
    flush: () => written,
    level: () => 'none',
  };
}
