import { expect } from 'chai';
import fc from 'fast-check';
import {
  addPages,
  allPages,
  countPages,
  hasPage,
  pagesIn,
  pagesInBoth,
  removePages,
} from '../../../src/emu-manager/memory/page-bitmap.js';

const memory = 100;
const pageSets = fc.uniqueArray(fc.nat(memory - 1), { maxLength: memory });

function bitmapOf(pages: readonly number[]): Uint8Array {
  const bitmap = new Uint8Array(Math.ceil(memory / 8));
  for (const pfn of pages) bitmap[pfn >> 3] = (bitmap[pfn >> 3] as number) | (1 << (pfn & 7));
  return bitmap;
}

function listOf(bitmap: Uint8Array): number[] {
  return [...pagesIn(bitmap, memory)].flat();
}

describe('a set of pages', () => {
  for (const pages of [0, 1, 8, 13, 64]) {
    it(`has just the ${pages} pages of a memory`, () => {
      expect(listOf(allPages(pages))).to.deep.equal(Array.from({ length: pages }, (_, pfn) => pfn));
      expect(countPages(allPages(pages))).to.equal(pages);
    });
  }

  it('does what sets do', () => {
    fc.assert(
      fc.property(pageSets, pageSets, fc.nat(memory), (a, b, most) => {
        const sorted = (pages: Iterable<number>) => [...new Set(pages)].toSorted((x, y) => x - y);
        expect(listOf(bitmapOf(a))).to.deep.equal(sorted(a));
        expect(countPages(bitmapOf(a))).to.equal(a.length);
        expect(b.filter((pfn) => hasPage(bitmapOf(a), pfn))).to.deep.equal(b.filter((pfn) => a.includes(pfn)));
        const both = sorted(a.filter((pfn) => b.includes(pfn)));
        expect(listOf(pagesInBoth(bitmapOf(a), bitmapOf(b), most))).to.deep.equal(both.slice(0, most));
        const sum = bitmapOf(a);
        addPages(sum, bitmapOf(b));
        expect(listOf(sum)).to.deep.equal(sorted([...a, ...b]));
        removePages(sum, bitmapOf(b));
        expect(listOf(sum)).to.deep.equal(sorted(a.filter((pfn) => !b.includes(pfn))));
      }),
    );
  });

  it('is listed in pieces of a length', () => {
    expect([...pagesIn(bitmapOf([1, 2, 50, 51, 99]), 2)]).to.deep.equal([[1, 2], [50, 51], [99]]);
  });
});
