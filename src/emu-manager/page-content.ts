/** What a page looks like, told fast, to choose how it is sent. */
import { pageSize } from '../base/hypervisor-protocol.js';

export type PageContent = 'zero' | 'random' | 'text' | 'binary';

const zeroPage = Buffer.alloc(pageSize);
const samples = 128;
/** Odd, so that the samples fall on all places within a word. */
const stride = 31;
/**
 * Of 128 evenly distributed bytes 32 pairs are equal on average, with a standard deviation of 6; of 128 bytes of text or of
 * program code several hundred.
 */
const mostEqualPairs = 55;

/**
 * A function that looks at the page which begins at `at`: no bit of it set; a sample of its bytes as evenly distributed as
 * those of random or compressed data; a sample that is ASCII text; or none of these.
 */
export function createPageClassifier(): (memory: Buffer, at: number) => PageContent {
  const counts = new Uint8Array(256);
  return (memory, at) => {
    if (memory[at] === 0 && memory.compare(zeroPage, 0, pageSize, at, at + pageSize) === 0) return 'zero';
    counts.fill(0);
    let equalPairs = 0;
    let isText = true;
    for (let index = 0; index < samples; index += 1) {
      const byte = memory[at + index * stride] as number;
      const count = counts[byte] as number;
      equalPairs += count;
      isText &&= byte >= 9 && byte < 127;
      if (equalPairs > mostEqualPairs) return isText ? 'text' : 'binary';
      counts[byte] = count + 1;
    }
    return 'random';
  };
}
