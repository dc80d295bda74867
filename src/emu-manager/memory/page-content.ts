/** What a page looks like, told fast, to choose how it is sent. */
import { pageSize } from '../../base/domain.js';

export type PageContent = 'zero' | 'repeated' | 'random' | 'text' | 'binary';

const zeroPage = Buffer.alloc(pageSize);
const samples = 64;
/** Odd, so that the samples fall on all places within a word. */
const stride = 63;
/**
 * Of 64 evenly distributed bytes 8 pairs are equal on average, with a standard deviation of 3; of 64 bytes of text or of program
 * code more than a hundred.
 */
const mostEqualPairs = 22;
/** Text may hold so many samples that are no ASCII letters: a header, accents. */
const strangers = 2;
const wordBytes = 8;

/**
 * A function that looks at the page which begins at `at`: no bit of it set; one word of 8 bytes over and over; a sample of its
 * bytes as evenly distributed as those of random or compressed data; a sample that is ASCII text; or none of these.
 */
export function createPageClassifier(): (memory: Buffer, at: number) => PageContent {
  const counts = new Uint8Array(256);
  return (memory, at) => {
    if (isOneWord(memory, at))
      return memory.compare(zeroPage, 0, wordBytes, at, at + wordBytes) === 0 ? 'zero' : 'repeated';
    counts.fill(0);
    let equalPairs = 0;
    let notText = 0;
    for (let index = 0; index < samples; index += 1) {
      const byte = memory[at + index * stride] as number;
      const count = counts[byte] as number;
      equalPairs += count;
      counts[byte] = count + 1;
      if (byte < 9 || byte > 126) notText += 1;
    }
    if (equalPairs <= mostEqualPairs) return 'random';
    return notText <= strangers ? 'text' : 'binary';
  };
}

/** A page equals itself one word further on when it is one word over and over; the first and last bytes mostly tell. */
function isOneWord(memory: Buffer, at: number): boolean {
  const end = at + pageSize;
  if (memory[at] !== memory[at + wordBytes] || memory[at] !== memory[end - wordBytes]) return false;
  return memory.compare(memory, at, end - wordBytes, at + wordBytes, end) === 0;
}

/** Pages looked at together for being all zeros. */
export const zeroRun = 16;
const zeros = Buffer.alloc(zeroRun * pageSize);

/** Whether no bit is set in a range of memory that is at most so many pages long. */
export function isZero(memory: Buffer, at: number, bytes: number): boolean {
  return memory[at] === 0 && memory.compare(zeros, 0, bytes, at, at + bytes) === 0;
}
