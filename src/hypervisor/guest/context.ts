/**
 * The state of a virtual CPU, and the bytes as which it travels. They are the same for the same state, so that digests of both
 * sides can be compared: magic, u32 pages, f64 ticks, f64 pages written, 4 x u32 random state, u32 count of written pages, all
 * little-endian; then for each written page, in order, two LEB128 numbers: its distance from the one before, its generation.
 */
import { XapiError } from '../../base/errors.js';
import type { RandomState } from './random.js';

export interface Context {
  /** Ticks since boot. */
  ticks: number;
  /** Pages written since boot. */
  pagesWritten: number;
  random: RandomState;
  /** How often each page was written. */
  generations: Uint32Array;
}

const magic = 'XFC1';
const headBytes = 44;

/** The bytes of a context. */
export function encodeContext({ ticks, pagesWritten, random, generations }: Context): Buffer {
  let written = 0;
  for (let pfn = 0; pfn < generations.length; pfn++) if (generations[pfn] !== 0) written++;
  const out = Buffer.alloc(headBytes + written * 10);
  out.write(magic, 'latin1');
  out.writeUInt32LE(generations.length, 4);
  out.writeDoubleLE(ticks, 8);
  out.writeDoubleLE(pagesWritten, 16);
  random.forEach((word, i) => {
    out.writeUInt32LE(word, 24 + 4 * i);
  });
  out.writeUInt32LE(written, 40);
  let at = headBytes;
  let last = 0;
  const put = (value: number): void => {
    let left = value;
    for (; left > 0x7f; left >>>= 7) out[at++] = (left & 0x7f) | 0x80;
    out[at++] = left;
  };
  for (let pfn = 0; pfn < generations.length; pfn++) {
    const generation = generations[pfn] as number;
    if (generation === 0) continue;
    put(pfn - last);
    put(generation);
    last = pfn;
  }
  return out.subarray(0, at);
}

/**
 * The context that some bytes stand for.
 * @param pages the pages of the domain that it is for
 * @throws INVALID_VALUE when they are no context, or not one of a domain of that size
 */
export function decodeContext(bytes: Buffer, pages: number): Context {
  if (bytes.length < headBytes || bytes.toString('latin1', 0, 4) !== magic)
    throw invalid('they do not begin as one does');
  if (bytes.readUInt32LE(4) !== pages) throw invalid(`it has ${bytes.readUInt32LE(4)} pages, the domain has ${pages}`);
  const ticks = bytes.readDoubleLE(8);
  const pagesWritten = bytes.readDoubleLE(16);
  if (!isCount(ticks) || !isCount(pagesWritten)) throw invalid('its counters are no counts');
  const random = Uint32Array.from([24, 28, 32, 36], (at) => bytes.readUInt32LE(at));
  return { ticks, pagesWritten, random, generations: decodeGenerations(bytes, pages) };
}

function decodeGenerations(bytes: Buffer, pages: number): Uint32Array {
  const generations = new Uint32Array(pages);
  let at = headBytes;
  const take = (): number => {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) throw invalid('it is cut short');
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw invalid('a number in it is over-long');
  };
  let pfn = 0;
  for (let left = bytes.readUInt32LE(40); left > 0; left--) {
    pfn += take();
    if (pfn >= pages) throw invalid(`it names page ${pfn} of ${pages}`);
    generations[pfn] = take();
  }
  if (at !== bytes.length) throw invalid(`${bytes.length - at} bytes follow it`);
  return generations;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function invalid(why: string): XapiError {
  return new XapiError('INVALID_VALUE', ['context', `the bytes are no context of this domain: ${why}`]);
}
