/** Reads the bodies of requests, and bounds what all that are not whole yet take together. */
import type { IncomingMessage } from 'node:http';

/** Bytes of all unfinished bodies together. */
const unfinishedLimit = 256 * 1024 * 1024;

export interface Bodies {
  /**
   * @param length bytes, as its head says
   * @returns the body; undefined where the caller went away before its end, or was sent away, as its was the one of all
   *   bodies that had got no further for longest
   */
  read(request: IncomingMessage, length: number): Promise<Buffer | undefined>;
}

interface Body {
  readonly request: IncomingMessage;
  bytes: Buffer;
  filled: number;
}

/**
 * @param limit bytes of memory that unfinished bodies may take; one more, and the one without progress for longest goes
 */
export function createBodies(limit = unfinishedLimit): Bodies {
  /** The one that got further last is the last. */
  const unfinished = new Set<Body>();
  let taken = 0;
  const forget = (body: Body): void => {
    if (unfinished.delete(body)) taken -= body.bytes.length;
  };
  const advance = (body: Body, chunk: Buffer, length: number): void => {
    forget(body);
    append(body, chunk, length);
    unfinished.add(body);
    taken += body.bytes.length;
    for (const oldest of unfinished) {
      if (taken <= limit) return;
      forget(oldest);
      oldest.request.destroy();
    }
  };
  return {
    read: (request, length) =>
      new Promise((resolve) => {
        const body: Body = { request, bytes: Buffer.alloc(0), filled: 0 };
        request.on('data', (chunk: Buffer) => {
          if (!request.destroyed) advance(body, chunk, length);
        });
        request.on('end', () => {
          forget(body);
          resolve(body.bytes.subarray(0, body.filled));
        });
        request.on('close', () => {
          forget(body);
          resolve(undefined);
        });
      }),
  };
}

/** Many small pieces take far more memory than their bytes, so they go into one that grows. */
function append(body: Body, chunk: Buffer, length: number): void {
  const filled = body.filled + chunk.length;
  if (body.filled === 0) {
    body.bytes = chunk;
  } else {
    if (filled > body.bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(filled, Math.min(length, 2 * body.bytes.length)));
      body.bytes.copy(larger, 0, 0, body.filled);
      body.bytes = larger;
    }
    chunk.copy(body.bytes, body.filled);
  }
  body.filled = filled;
}
