/** What the source sends of a VM that does not run. */
import type { SaveResult } from '../../xenops/image.js';
import { compressionPlan } from '../compressor.js';
import { type Decision, reach, type SourceAttempt } from './attempt.js';
import type { Channels } from './connect.js';

/** Send the suspend image of a suspended VM, as it is. A halted VM has nothing but its record, which VM.receive had. */
export async function sendAtRest(
  attempt: SourceAttempt,
  { memory, vgpu, restoredAck }: Channels,
  decision: Decision,
  signal: AbortSignal,
): Promise<SaveResult> {
  const { deps, hooks, request } = attempt;
  await reach(attempt, 'copy', signal);
  if (memory === undefined) {
    if (restoredAck) attempt.points.allow();
    return { emuFlags: [] };
  }
  const { memory: guestBytes = 0 } = await deps.suspended.sizes(request.uuid);
  const sending = deps.suspended.send(request.uuid, {
    channels: { memory, vgpu },
    ...(compressionPlan(decision).zstdPipe ? { zstd: deps.zstd } : {}),
    signal,
    onProgress(share) {
      // The destination can have the whole image before the last of it is known to be sent.
      if (share === 1 && restoredAck) attempt.points.allow();
      hooks.onProgress('copy', share);
    },
    onHelper: (helper) => attempt.helpers.push(helper),
  });
  const [wireBytes] = await sending;
  if (restoredAck) attempt.points.allow();
  return { emuFlags: [], guestBytes, ...(wireBytes === undefined ? {} : { wireBytes }) };
}
