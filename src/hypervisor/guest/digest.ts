/**
 * The digest of a paused instant, taken lazily: pages are hashed when the digest is asked for, and a page that the guest is
 * about to write before that is hashed first. SHA-256 over the first 16 bytes of each page's SHA-256 in page order, then
 * over context and virtual GPUs as they were at the instant.
 */
import { createHash, hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { pageSize } from '../../base/domain.js';
import { isZeroPage } from './content.js';

export interface Digest {
  /** Hash a page, where that is still to be done, before the guest writes it. */
  beforeWrite(pfn: number): void;
  /** Hash the rest. @returns the digest, hexadecimal */
  complete(): Promise<string>;
}

export interface DigestInit {
  readonly pages: number;
  /** Read pages from `pfn` on into a target. @throws once the domain is gone */
  read(target: Buffer, pfn: number): void;
  /** The rest of the instant's state, in an order that is the same on both sides. */
  readonly parts: readonly Uint8Array[];
}

const pageDigestBytes = 16;
const batchPages = 256;
const zeroDigest = hash('sha256', Buffer.alloc(pageSize), 'buffer');

/** Begin the digest of this instant. */
export function createDigest({ pages, read, parts }: DigestInit): Digest {
  const digests = Buffer.alloc(pages * pageDigestBytes);
  const hashed = new Uint8Array(pages);
  const single = Buffer.alloc(pageSize);
  let result: Promise<string> | undefined;

  const put = (page: Buffer, pfn: number): void => {
    const digest = isZeroPage(page) ? zeroDigest : hash('sha256', page, 'buffer');
    digest.copy(digests, pfn * pageDigestBytes, 0, pageDigestBytes);
    hashed[pfn] = 1;
  };
  const hashAll = async (): Promise<string> => {
    const batch = Buffer.alloc(batchPages * pageSize);
    for (let first = 0; first < pages; first += batchPages) {
      const count = Math.min(batchPages, pages - first);
      read(batch.subarray(0, count * pageSize), first);
      for (let i = 0; i < count; i++) {
        if (hashed[first + i] === 0) put(batch.subarray(i * pageSize, (i + 1) * pageSize), first + i);
      }
      await setImmediate();
    }
    const whole = createHash('sha256').update(digests);
    for (const part of parts) whole.update(`${part.length}:`).update(part);
    return whole.digest('hex');
  };
  return {
    beforeWrite: (pfn) => {
      if (hashed[pfn] === 1) return;
      read(single, pfn);
      put(single, pfn);
    },
    complete: () => {
      result ??= hashAll();
      return result;
    },
  };
}
