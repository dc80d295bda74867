/** A domain's memory file, read and written in runs of pages that follow each other. */
import fs from 'node:fs';
import { type DomainMemory, pageSize } from '../base/hypervisor-protocol.js';
import type { Pages } from '../wire/libxc-stream.js';

/** Pages `first` to `first + count - 1`, the page at place `index` of a list and those after it. */
interface Run {
  readonly first: number;
  readonly index: number;
  readonly count: number;
}

const zeroPage = Buffer.alloc(pageSize);

/**
 * Read pages into a buffer, one behind the other. The guest may write meanwhile: its log-dirty tells.
 * @throws when the file ends before
 */
export function readPages(fd: number, pfns: readonly number[], into: Buffer): void {
  for (const { first, index, count } of runsOf(pfns)) {
    const end = (index + count) * pageSize;
    for (let at = index * pageSize; at < end; ) {
      const bytes = fs.readSync(fd, into, at, end - at, first * pageSize + at - index * pageSize);
      if (bytes === 0) throw new Error(`the domain's memory ends before page ${first + count - 1}`);
      at += bytes;
    }
  }
}

export interface PageWriter {
  /** @throws when a page is not of the domain */
  write(pages: Pages): void;
  /** Make pages all zeros. @throws when a page is not of the domain */
  clear(pfns: readonly number[]): void;
  /** How many pages were neither written nor cleared. */
  missing(): number;
}

/** Write into the memory of a building domain, which is all zeros before. */
export function openPageWriter(memory: DomainMemory): PageWriter {
  const fd = fs.openSync(memory.path, 'r+');
  const touched = new Uint8Array(memory.pages);
  const came = new Uint8Array(memory.pages);
  let missing = memory.pages;
  const note = (pfns: readonly number[]) => {
    for (const pfn of pfns) {
      if (came[pfn] === 0) missing -= 1;
      came[pfn] = 1;
    }
  };
  const writeRun = (data: Buffer, { first, index, count }: Run) => {
    const end = (index + count) * pageSize;
    for (let at = index * pageSize; at < end; ) {
      at += fs.writeSync(fd, data, at, end - at, first * pageSize + at - index * pageSize);
    }
    touched.fill(1, first, first + count);
  };
  const assertWithin = (pfns: readonly number[]) => {
    const outside = pfns.find((pfn) => pfn >= memory.pages);
    if (outside !== undefined) throw new Error(`page ${outside} is outside the domain, which has ${memory.pages}`);
  };
  return {
    write({ pfns, data }) {
      assertWithin(pfns);
      note(pfns);
      for (const run of runsOf(pfns)) writeRun(data, run);
    },
    clear(pfns) {
      assertWithin(pfns);
      note(pfns);
      for (const pfn of pfns) if (touched[pfn] === 1) fs.writeSync(fd, zeroPage, 0, pageSize, pfn * pageSize);
    },
    missing: () => missing,
  };
}

function* runsOf(pfns: readonly number[]): Generator<Run> {
  for (let index = 0; index < pfns.length; ) {
    const first = pfns[index] as number;
    let count = 1;
    while (pfns[index + count] === first + count) count += 1;
    yield { first, index, count };
    index += count;
  }
}
