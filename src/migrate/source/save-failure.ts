/** Why a save has failed. The helper and the system say it in words, which this file alone reads. */
import { messageOf, XapiError } from '../../base/errors.js';
import { noConvergence } from '../../base/protocol/emu-protocol.js';

/** `no convergence`: the guest wrote faster than its pages were sent. `broken stream`: a channel was closed at the other end. */
export type SaveFailure = 'no convergence' | 'broken stream' | 'other';

const brokenStream = /\b(EPIPE|ECONNRESET|SIGPIPE|[Bb]roken pipe|Connection reset|closed)\b/;

/** Tell which kind of failure an error of a save is. */
export function kindOfFailure(error: unknown): SaveFailure {
  if (brokenStream.test(messageOf(error))) return 'broken stream';
  return error instanceof XapiError && messageOf(error).includes(`${noConvergence}:`) ? 'no convergence' : 'other';
}
