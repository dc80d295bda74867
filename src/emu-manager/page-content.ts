/** What a page looks like, told fast, to choose how it is sent. */
import { pageSize } from '../base/hypervisor-protocol.js';

const zeroPage = Buffer.alloc(pageSize);
const samples = 256;
/** Odd, so that the samples fall on all places within a word. */
const stride = 15;
/**
 * With evenly distributed bytes the squares of the counts of 256 samples add up to 511 on average, with a standard deviation
 * of 23. Text has well over 1000.
 */
const randomBelow = 600;

/** Whether the page that begins at `at` has no bit set. */
export function isZero(memory: Buffer, at: number): boolean {
  return memory[at] === 0 && memory.compare(zeroPage, 0, pageSize, at, at + pageSize) === 0;
}

/** Whether a sample of the page's bytes is as evenly distributed as those of random or compressed data. */
export function looksRandom(memory: Buffer, at: number): boolean {
  const counts = new Uint8Array(256);
  let sum = 0;
  for (let index = 0; index < samples; index += 1) {
    const byte = memory[at + index * stride] as number;
    const count = counts[byte] as number;
    sum += 2 * count + 1;
    if (sum > randomBelow) return false;
    counts[byte] = count + 1;
  }
  return true;
}
