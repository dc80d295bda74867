/** Sets of pages: one bit a page, least significant first, as log-dirty gives them. */

/** All pages from 0 on. */
export function allPages(pages: number): Uint8Array {
  const bitmap = new Uint8Array(Math.ceil(pages / 8)).fill(0xff);
  if (pages % 8 !== 0) bitmap[bitmap.length - 1] = (1 << (pages % 8)) - 1;
  return bitmap;
}

export function hasPage(bitmap: Uint8Array, pfn: number): boolean {
  return ((bitmap[pfn >> 3] as number) & (1 << (pfn & 7))) !== 0;
}

/** How many pages a set has. */
export function countPages(bitmap: Uint8Array): number {
  let count = 0;
  for (let byte of bitmap) for (; byte !== 0; byte &= byte - 1) count += 1;
  return count;
}

/** The pages of a set in rising order, in lists of at most `atMost`. */
export function* pagesIn(bitmap: Uint8Array, atMost: number): Generator<number[]> {
  let pfns: number[] = [];
  for (let index = 0; index < bitmap.length; index += 1) {
    const byte = bitmap[index] as number;
    if (byte === 0) continue;
    for (let bit = 0; bit < 8; bit += 1) {
      if ((byte & (1 << bit)) === 0) continue;
      pfns.push(index * 8 + bit);
      if (pfns.length < atMost) continue;
      yield pfns;
      pfns = [];
    }
  }
  if (pfns.length > 0) yield pfns;
}

/** Add the pages of the second set to the first. */
export function addPages(to: Uint8Array, from: Uint8Array): void {
  for (let index = 0; index < from.length; index += 1) to[index] = (to[index] as number) | (from[index] as number);
}

/** Take the pages of the second set out of the first. */
export function removePages(from: Uint8Array, pages: Uint8Array): void {
  for (let index = 0; index < pages.length; index += 1) {
    from[index] = (from[index] as number) & ~(pages[index] as number);
  }
}

/** The first so many pages that are in both sets. */
export function pagesInBoth(a: Uint8Array, b: Uint8Array, atMost: number): Uint8Array {
  const both = new Uint8Array(a.length);
  let left = atMost;
  for (let index = 0; index < a.length && left > 0; index += 1) {
    for (let byte = (a[index] as number) & (b[index] as number); byte !== 0 && left > 0; byte &= byte - 1) {
      both[index] = (both[index] as number) | (byte & -byte);
      left -= 1;
    }
  }
  return both;
}
