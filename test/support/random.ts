/**
 * Random bytes for tests, out of one seed for a run: `XENFERRY_TEST_SEED`, or else one that the reporter draws, and
 * prints behind failures. The same tests in the same order draw the same bytes from it again.
 */
import { createCipheriv, createHash } from 'node:crypto';

const key = createHash('sha256')
  .update(process.env.XENFERRY_TEST_SEED ?? '')
  .digest()
  .subarray(0, 16);
const stream = createCipheriv('aes-128-ctr', key, Buffer.alloc(16));

/** Give evenly distributed bytes, others at each call. */
export function randomBytes(length: number): Buffer {
  return stream.update(Buffer.alloc(length));
}
