/** What the source sends of a VM that does not run. */
import type { SaveResult } from '../xenops/image.js';
import { type Attempt, type Decision, reach } from './source-attempt.js';
import type { Channels } from './source-connect.js';

/** Of a halted VM there is its record alone, which VM.receive had. */
export async function sendAtRest(
  attempt: Attempt,
  { restoredAck }: Channels,
  _decision: Decision,
  signal: AbortSignal,
): Promise<SaveResult> {
  attempt.due = restoredAck;
  await reach(attempt, 'copy', signal);
  return { emuFlags: [] };
}
