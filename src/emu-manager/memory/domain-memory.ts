/** A domain's memory file, read and written in runs of pages that follow each other. */
import fs from 'node:fs';
import { pageSize } from '../../base/domain.js';
import { openOwnFile } from '../../base/own-file.js';
import type { DomainMemory } from '../../base/protocol/hypervisor-protocol.js';
import type { Pages } from '../../wire/stream/libxc-stream.js';
import { isZero, zeroRun } from './page-content.js';

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
  const fd = openOwnFile(memory.path, fs.constants.O_RDWR);
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
  const clearPage = (pfn: number) => {
    if (touched[pfn] === 1) fs.writeSync(fd, zeroPage, 0, pageSize, pfn * pageSize);
  };
  return {
    write({ pfns, data }) {
      assertWithin(pfns);
      note(pfns);
      for (const run of runsOf(pfns)) {
        for (const { isZero, ...part } of partsOf(run, data)) {
          if (!isZero) writeRun(data, part);
          else for (let pfn = part.first; pfn < part.first + part.count; pfn += 1) clearPage(pfn);
        }
      }
    },
    clear(pfns) {
      assertWithin(pfns);
      note(pfns);
      for (const pfn of pfns) clearPage(pfn);
    },
    missing: () => missing,
  };
}

/** Parts of a run that are all zeros, which are there already where nothing was written before, and those between them. */
function* partsOf({ first, index, count }: Run, data: Buffer): Generator<Run & { readonly isZero: boolean }> {
  const part = (from: number, end: number, zero: boolean) => ({
    ...{ first: first + from, index: index + from, count: end - from, isZero: zero },
  });
  let from = 0;
  for (let at = 0; at < count; at += zeroRun) {
    const end = Math.min(at + zeroRun, count);
    if (!isZero(data, (index + at) * pageSize, (end - at) * pageSize)) continue;
    if (at > from) yield part(from, at, false);
    yield part(at, end, true);
    from = end;
  }
  if (count > from) yield part(from, count, false);
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
