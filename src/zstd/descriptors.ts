/** Standard input and output as blocking descriptors, whatever mode they were left in. */
import { readSync, writeSync } from 'node:fs';

const SLAB = 1024 * 1024;
const SMALLEST_READ = 64 * 1024;
const RETRY_MS = 2;

/**
 * Reads a descriptor to its end, blocking or not, in chunks of up to 1 MiB. A chunk is never written over.
 *
 * @throws Error of the system call when a read fails
 */
export function* readChunks(descriptor: number): Generator<Buffer> {
  let slab = Buffer.allocUnsafeSlow(SLAB);
  for (;;) {
    const length = readOnce(descriptor, slab);
    if (length === 0) return;
    yield slab.subarray(0, length);
    slab = slab.length - length < SMALLEST_READ ? Buffer.allocUnsafeSlow(SLAB) : slab.subarray(length);
  }
}

/**
 * Writes all bytes to a descriptor, blocking or not.
 *
 * @throws Error of the system call when a write fails
 */
export function writeAll(descriptor: number, bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) {
    written += whenReady(() => writeSync(descriptor, bytes, written, bytes.length - written));
  }
}

function readOnce(descriptor: number, into: Buffer): number {
  return whenReady(() => readSync(descriptor, into, 0, into.length, null));
}

/** Retries a call on a non-blocking descriptor until it can go on: the descriptor's mode is its other holders' choice. */
function whenReady(call: () => number): number {
  for (;;) {
    try {
      return call();
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
}
