/** What fails while a domain is streamed, by kind: whoever has to act on one asks for it, and reads no text. */
import { XapiError } from './errors.js';

/** Each has a word of its own in emu-manager's control protocol. */
export const streamFailures = ['no-convergence', 'broken-stream'] as const;

/** `no-convergence`: the guest wrote faster than its pages were sent. `broken-stream`: the other end of a channel is gone. */
export type StreamFailure = (typeof streamFailures)[number];

export class StreamError extends XapiError {
  readonly failure: StreamFailure;

  constructor(failure: StreamFailure, message: string) {
    super('INTERNAL_ERROR', [message]);
    this.failure = failure;
  }
}

const brokenCodes: ReadonlySet<unknown> = new Set(['EPIPE', 'ECONNRESET']);

/** Tell the kind of an error; undefined for any other. An error of the system is told by its code. */
export function streamFailureOf(error: unknown): StreamFailure | undefined {
  if (error instanceof StreamError) return error.failure;
  return error instanceof Error && brokenCodes.has((error as NodeJS.ErrnoException).code) ? 'broken-stream' : undefined;
}
