/** VM.receive: whether an attempt may begin, and its beginning. */
import { invalidValue, XapiError } from '../../base/errors.js';
import type { DestinationRow } from '../../xenops/journal.js';
import type { ReceiveReply, ReceiveRequest } from '../metadata.js';
import type { DestinationState } from '../protocol.js';
import { type Incoming, recoverLater, rowOf, settleRow, stillMigrating } from './incoming.js';
import { openAttempt } from './phases.js';
import { cleanUp, refuseRow } from './refusal.js';
import { assertFree, destinationRows, repeated, reservedRow, restOf } from './rows.js';

type Row = DestinationRow<DestinationState>;

/**
 * Assert that a migration's id is not another VM's.
 * @throws INVALID_VALUE, OPERATION_NOT_ALLOWED where the migration has ended
 */
export function assertOwn(incoming: Incoming, migrationId: string, uuid: string): void {
  const row = rowOf(incoming, migrationId);
  const vm = row?.uuid ?? incoming.admission.vmOf(migrationId) ?? uuid;
  if (vm !== uuid) throw invalidValue('migration_id', migrationId, 'one that no other VM has');
  if (row !== undefined) repeated(row);
}

/** Begin an attempt, or give the reply of one that has begun. The caller holds the VM's lane. @throws as VM.receive does */
export async function receive(incoming: Incoming, request: ReceiveRequest): Promise<ReceiveReply> {
  const { admission, closing } = incoming;
  const { migrationId, metadata } = request;
  assertOwn(incoming, migrationId, metadata.domain.uuid);
  if (closing.signal.aborted) throw new XapiError('INTERNAL_ERROR', ['the daemon of the destination stops']);
  const known = rowOf(incoming, migrationId);
  if (known !== undefined) return repeated(known);
  if (!admission.admit(migrationId, metadata.domain.uuid)) throw new XapiError('TOO_BUSY', []);
  try {
    return await begin(incoming, request);
  } catch (error) {
    admission.end(migrationId);
    throw error;
  }
}

/** Check, reserve and journal; what follows goes on in the background. */
async function begin(incoming: Incoming, request: ReceiveRequest): Promise<ReceiveReply> {
  const { deps, attempts, admission } = incoming;
  const { migrationId, metadata } = request;
  await refuseEarlier(incoming, metadata.domain.uuid);
  const { formats = await readable(incoming), restoredAck } = deps.announce;
  const row = reservedRow(request, deps.xenopsUrl(), { formats, restoredAck });
  await assertFree(deps.backend, row);
  await deps.journal.put(row, 'powerLoss');
  try {
    if (restOf(row) === undefined) await deps.backend.reserve(migrationId, metadata.domain.memoryBytes);
    await reachPrepare(incoming, row);
  } catch (error) {
    await dropUnanswered(incoming, row);
    throw error;
  }
  const attempt = openAttempt(deps, row, metadata, () => admission.longestWait() > deps.limits().progressTimeoutMs);
  attempts.set(migrationId, attempt);
  void attempt.ended.then(() => noteEnd(incoming, migrationId));
  return row.reply as ReceiveReply;
}

/** The formats of streams that this host restores. */
function readable({ deps, closing }: Incoming): Promise<readonly string[]> {
  return deps.backend.saveHelper().readable({ ...deps.limits(), signal: closing.signal });
}

function noteEnd(incoming: Incoming, migrationId: string): void {
  const { deps, attempts, admission } = incoming;
  attempts.delete(migrationId);
  admission.end(migrationId);
  const state = rowOf(incoming, migrationId)?.state;
  // An attempt has not ended while the VM that was taken does not run, or a refusal is not durable.
  if (state === 'done' || state === 'refused') deps.onEnded(migrationId, state === 'done');
  recoverLater(incoming, migrationId);
}

/** Reach the step `prepare`, where a rule may break the attempt before the source has heard of it. */
async function reachPrepare({ deps, closing }: Incoming, { uuid, migrationId }: Row): Promise<void> {
  await deps.faults.at('prepare', { side: 'destination', uuid, migrationId, helpers: [], signal: closing.signal });
}

/** Keep nothing of an attempt of which the source has not heard, once nothing is promised to it any more. */
async function dropUnanswered(incoming: Incoming, row: Row): Promise<void> {
  const { deps } = incoming;
  try {
    await refuseRow(deps, row);
    await deps.journal.remove('destination', row.migrationId);
  } catch (error) {
    deps.log.warn('a refusal is completed later', { migration: row.migrationId, error });
    recoverLater(incoming, row.migrationId);
  }
}

/** Refuse older attempts for the VM that have not taken point 3. */
async function refuseEarlier(incoming: Incoming, uuid: string): Promise<void> {
  const { deps } = incoming;
  for (const row of destinationRows(deps.journal)) {
    if (row.uuid !== uuid || row.state === 'done') continue;
    if (row.state === 'refused') {
      await cleanUp(deps, row);
      continue;
    }
    const settlement = await settleRow(incoming, row, 'a newer attempt to migrate the VM has begun');
    if (settlement === 'taken') throw stillMigrating(uuid, row.migrationId);
  }
}
