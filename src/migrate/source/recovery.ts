/**
 * What a source still has to do for a migration whose phases are over, or were cut short by a crash: one step at a time, as its
 * journal row says, and again until nothing is left to do.
 *
 * | row | what it comes to |
 * |---|---|
 * | preparing, copying, suspended | the VM goes on here, then `failed`: without point 3 the destination runs nothing |
 * | going | `settle`; on its word `done`, or the VM goes on here and `failed`; without an answer the VM stays paused, in doubt |
 * | done | the old copy is destroyed, the destination told that it may forget the outcome |
 * | failed | the destination is settled, where VM.receive agreed on something, and told the same |
 */

import type { Backend } from '../../backend/backend.js';
import { type DomainInfo, sameDomain } from '../../base/domain.js';
import { messageOf, XapiError } from '../../base/errors.js';
import type { SourceRow } from '../../xenops/journal.js';
import { encodeDoubt, isDoubtOf } from '../in-doubt.js';
import { type Agreed, askDestination, settleOnce } from '../peers.js';
import type { Settlement, SourceState } from '../protocol.js';
import {
  type MigrateRequest,
  type MigrationOutcome,
  type MigrationReport,
  migrateFailed,
  toWireError,
} from '../request.js';
import type { SourceDeps } from './attempt.js';

export interface SourceRecovery {
  readonly deps: SourceDeps;
  /** Run in the VM's lane. */
  inLane<T>(uuid: string, work: () => Promise<T>): Promise<T>;
  /** Called with the outcome of a migration; again where the VM goes on here only now. */
  onEnded(migrationId: string, outcome: MigrationOutcome): void;
}

type Row = SourceRow<SourceState>;

/** Do what can be done for a migration now. Never throws. @returns whether nothing is left to do */
export async function recoverSource(recovery: SourceRecovery, migrationId: string): Promise<boolean> {
  const { deps } = recovery;
  const log = deps.log.child({ migration: migrationId, side: 'source' });
  try {
    for (;;) {
      const row = rowIn(deps, migrationId);
      if (row === undefined || row.acknowledged) return true;
      if (row.state === 'done' || (row.state === 'failed' && !row.resumePending)) {
        await cleanUp(deps, row);
        return true;
      }
      if (row.state !== 'going') await recovery.inLane(row.uuid, () => goOnHere(recovery, migrationId));
      else if (!(await settleAgain(recovery, row))) return false;
    }
  } catch (error) {
    log.warn(`what is left of a migration is tried again: ${messageOf(error)}`);
    return false;
  }
}

/** Have the VM go on here after a migration that was cut short before its commit point. The caller holds the VM's lane. */
export async function goOnHere(recovery: SourceRecovery, migrationId: string): Promise<void> {
  const { deps } = recovery;
  const row = rowIn(deps, migrationId);
  if (row === undefined || !(row.resumePending || ['preparing', 'copying', 'suspended'].includes(row.state))) return;
  await resume(deps.backend, row);
  const outcome =
    (row.outcome as MigrationOutcome | undefined) ?? failed(row, 'source', 'the daemon of the source was started anew');
  await deps.journal.put({ ...row, state: 'failed', resumePending: undefined, outcome }, 'powerLoss');
  deps.log.warn('the VM goes on here', { migration: row.migrationId, task: row.task, vm: row.uuid });
  recovery.onEnded(row.migrationId, outcome);
}

/** Send `settle` once more. @returns whether the destination has named an outcome */
async function settleAgain(recovery: SourceRecovery, row: Row): Promise<boolean> {
  const { deps } = recovery;
  await markInDoubt(deps, row);
  const settlement = row.agreed === undefined ? 'unknown' : await settleOnce(deps.peers, row.agreed, deps.log);
  if (settlement === 'unknown') return false;
  await recovery.inLane(row.uuid, () => applySettlement(recovery, row.migrationId, settlement));
  return true;
}

/**
 * Bring a migration without point 4 to its end. The caller holds the VM's lane.
 * @param why the reason of a refusal, where it is not the destination's own
 */
export async function applySettlement(
  recovery: SourceRecovery,
  migrationId: string,
  settlement: Exclude<Settlement, 'unknown'>,
  why = 'the destination has refused the VM',
): Promise<void> {
  const { deps } = recovery;
  const row = rowIn(deps, migrationId);
  if (row?.state !== 'going') return;
  const outcome: MigrationOutcome =
    settlement === 'taken'
      ? { status: 'success', report: row.report as MigrationReport }
      : failed(row, 'destination', why);
  // The row comes before the VM runs here: from then on a destination that asks hears `no`.
  const end =
    settlement === 'taken' ? { state: 'done' as const } : { state: 'failed' as const, resumePending: true as const };
  await deps.journal.put({ ...row, ...end, outcome }, 'powerLoss');
  deps.log.info(`settled: ${settlement}`, { migration: row.migrationId, task: row.task, vm: row.uuid });
  if (settlement === 'taken') return recovery.onEnded(migrationId, outcome);
  await goOnHere(recovery, migrationId).catch((error: unknown) => {
    recovery.onEnded(migrationId, outcome);
    throw error;
  });
}

/** Destroy the old copy, where there is one, and let the destination forget the outcome. @throws while either cannot be done */
async function cleanUp(deps: SourceDeps, row: Row): Promise<void> {
  // The row may have been written and not flushed.
  await deps.journal.put(row, 'powerLoss');
  if (row.state === 'done') await letGo(deps, row);
  if (row.agreed !== undefined) await tell(deps, row, row.agreed);
  const now = rowIn(deps, row.migrationId);
  if (now !== undefined) await deps.journal.put({ ...now, acknowledged: true });
}

/** Destroy the domain, or remove the suspend image, of a VM that was sent. Fine where there is neither. */
export async function letGo({ backend, suspended }: SourceDeps, { uuid, handle, image }: SourceRow): Promise<void> {
  if (handle !== undefined) await backend.destroy(handle);
  if (image !== undefined) await suspended.discard(uuid, image);
}

async function tell(deps: SourceDeps, row: Row, agreed: Agreed): Promise<void> {
  const { migrationId, token } = agreed;
  // Where VM.receive was called twice the destination knows another token, and nothing that this attempt could settle.
  const forgotten = (error: unknown) => {
    if (error instanceof XapiError && error.code === 'SESSION_INVALID') return;
    throw error;
  };
  if (row.state === 'failed') {
    const settlement: unknown = await askDestination(deps.peers, agreed, (peer) =>
      peer.settle(migrationId, token),
    ).catch(forgotten);
    // This happens only where an operator has forced the settlement, and the destination had decided otherwise.
    if (settlement === 'taken') deps.log.error('the destination has taken a VM that goes on here', { vm: row.uuid });
  }
  await askDestination(deps.peers, agreed, (peer) => peer.acknowledge(migrationId, token)).catch(forgotten);
}

/** Resume the VM here: give its domain its name back, and run it if it ran before. Idempotent. */
export async function resume(backend: Backend, row: SourceRow): Promise<void> {
  const domain = copyOf(row, await backend.list());
  if (domain === undefined) return;
  const { handle } = domain;
  if (domain.uuid !== row.uuid) await backend.rename(handle, row.uuid);
  if (domain.inDoubt !== undefined) {
    // A mark of another's means that the copy was given up, and must not run by itself.
    if (!isDoubtOf(row.migrationId, domain.inDoubt)) return;
    await backend.markInDoubt(handle, undefined);
  }
  // A guest that has ended meanwhile, as it crashed, does not run again.
  if (row.wasRunning && domain.state !== 'shutdown') await backend.unpause(handle, `resume ${row.migrationId}`);
}

/**
 * Mark the copy here as in doubt: it keeps its name, paused, and refuses to run. Never throws: where the hypervisor does not answer
 * now, the next attempt to settle marks the copy.
 */
export async function markInDoubt(deps: SourceDeps, row: SourceRow): Promise<void> {
  const log = deps.log.child({ migration: row.migrationId, task: row.task, vm: row.uuid });
  try {
    const domains = await deps.backend.list();
    const copy = copyOf(row, domains);
    if (copy === undefined) return;
    if (copy.inDoubt === undefined) await deps.backend.markInDoubt(copy.handle, doubtOf(row));
    // Where source and destination are one host, the other copy may have the name already.
    if (copy.uuid !== row.uuid && !domains.some(({ uuid }) => uuid === row.uuid)) {
      await deps.backend.rename(copy.handle, row.uuid);
    }
  } catch (error) {
    log.warn(`a VM in doubt is not marked: ${messageOf(error)}`);
  }
}

/** Find the domain that was sent; a VM that does not run has none. */
export function copyOf({ handle }: Pick<SourceRow, 'handle'>, domains: readonly DomainInfo[]): DomainInfo | undefined {
  return handle === undefined ? undefined : domains.find((domain) => sameDomain(domain.handle, handle));
}

/** Why a copy at the source is in doubt. */
export function doubtOf({ migrationId }: SourceRow): string {
  return encodeDoubt(migrationId, 'the destination has not said whether it runs the VM');
}

/** The outcome of a migration while it is in doubt. */
export function inDoubtOutcome(row: SourceRow): MigrationOutcome {
  return { status: 'in-doubt', error: failed(row, 'destination', doubtOf(row)).error };
}

/** The outcome of a migration whose VM is to go on here and cannot yet. */
export function notResumed(row: SourceRow, error: unknown): MigrationOutcome {
  return failed(row, 'source', `the VM is to go on at the source, and cannot yet: ${messageOf(error)}`);
}

function failed(row: SourceRow, side: 'source' | 'destination', why: string) {
  const error = migrateFailed(
    row.request as MigrateRequest,
    `${row.state === 'going' ? 'run' : 'copy'}, ${side}: ${why}`,
  );
  return { status: 'failure', error: toWireError(error) } as const;
}

function rowIn(deps: SourceDeps, migrationId: string): Row | undefined {
  return deps.journal.get('source', migrationId) as Row | undefined;
}
