/**
 * What a destination still has to do for an attempt that is over, or was cut short by a crash: as its journal row says, and
 * again until nothing is left to do.
 *
 * | row | domain | what it comes to |
 * |---|---|---|
 * | reserved, created, restored | | `refused`: without point 3 it never runs |
 * | refused | | the domain is destroyed unless it ever ran, the promised memory released |
 * | taken, unpausing | ever ran, or is gone | `done`: the VM ran here, whatever became of it |
 * | taken, unpausing | never ran | the source is asked: it runs and `done`, or `refused`; without an answer it stays paused, in doubt |
 * | taken, unpausing | none, of a VM that does not run | the same: `done`, or `refused` |
 * | done | | nothing |
 */

import { type DomainInfo, sameDomain } from '../../base/domain.js';
import { messageOf, XapiError } from '../../base/errors.js';
import type { DestinationRow } from '../../xenops/journal.js';
import { encodeDoubt, isDoubtOf } from '../in-doubt.js';
import type { VmMetadata } from '../metadata.js';
import type { Peers } from '../peers.js';
import { type DestinationState, hasTaken, type Permission, type Settlement } from '../protocol.js';
import type { AttemptDeps } from './attempt.js';
import { cleanUp, refuseRow } from './refusal.js';
import { restOf } from './rows.js';

export interface DestinationRecovery {
  readonly deps: Pick<AttemptDeps, 'backend' | 'journal' | 'suspended' | 'log'>;
  readonly peers: Pick<Peers, 'at'>;
  /** Run in the VM's lane of receives. */
  inLane<T>(uuid: string, work: () => Promise<T>): Promise<T>;
  /** Called when an attempt has ended that had not ended before. */
  onEnded(migrationId: string, taken: boolean): void;
}

type Row = DestinationRow<DestinationState>;

/** Do what can be done for an attempt now. Never throws. @returns whether nothing is left to do */
export async function recoverDestination(recovery: DestinationRecovery, migrationId: string): Promise<boolean> {
  const log = recovery.deps.log.child({ migration: migrationId, side: 'destination' });
  try {
    const row = rowIn(recovery, migrationId);
    if (row === undefined || row.state === 'done') return true;
    if (!hasTaken(row.state)) {
      await recovery.inLane(row.uuid, () => endUntaken(recovery, migrationId));
      return true;
    }
    const domain = await domainOf(recovery, row);
    const over = restOf(row) === undefined && (domain === undefined || domain.everRan);
    const permission = over ? 'yes' : await askSource(recovery, row, domain);
    const outcome = permission === 'unknown' ? 'unknown' : permission === 'yes' ? 'taken' : 'refused';
    return (
      outcome !== 'unknown' && (await recovery.inLane(row.uuid, () => decideTaken(recovery, migrationId, outcome)))
    );
  } catch (error) {
    log.warn(`what is left of a migration is tried again: ${messageOf(error)}`);
    return false;
  }
}

/** Refuse an attempt that was not taken, and leave nothing of it behind. The caller holds the lane. */
export async function endUntaken(recovery: DestinationRecovery, migrationId: string): Promise<void> {
  const row = rowIn(recovery, migrationId);
  if (row === undefined || hasTaken(row.state)) return;
  if (row.state === 'refused') return cleanUp(recovery.deps, row);
  await refuseRow(recovery.deps, row, () => recovery.onEnded(migrationId, false));
}

/** Ask the source whether a copy that was taken and never ran may run: the source may have been settled by force meanwhile. */
async function askSource(recovery: DestinationRecovery, row: Row, domain: DomainInfo | undefined): Promise<Permission> {
  if (domain !== undefined && domain.inDoubt === undefined)
    await recovery.deps.backend.markInDoubt(domain.handle, doubtOf(row));
  const { sourceUrl } = row.request as VmMetadata;
  if (sourceUrl === undefined) return 'unknown';
  const answer: unknown = await recovery.peers.at(sourceUrl).mayRun(row.migrationId, row.token);
  return answer === 'yes' || answer === 'no' ? answer : 'unknown';
}

/**
 * Run a copy that was taken, or let it go. The caller holds the lane, and knows that nobody else decides otherwise: by the
 * source's word, or by an operator's.
 * @returns true: it is over
 */
export async function decideTaken(
  recovery: DestinationRecovery,
  migrationId: string,
  outcome: Exclude<Settlement, 'unknown'>,
): Promise<true> {
  const { journal, log } = recovery.deps;
  const row = rowIn(recovery, migrationId);
  if (row === undefined || row.state === 'done' || !hasTaken(row.state)) return true;
  const domain = await domainOf(recovery, row);
  const never = restOf(row) !== undefined || (domain !== undefined && !domain.everRan);
  if (outcome === 'refused' && never) {
    const refused: Row = { ...row, state: 'refused' };
    await journal.put(refused, 'powerLoss');
    log.info('what was taken is refused after all', { migration: migrationId, vm: row.uuid, side: 'destination' });
    recovery.onEnded(migrationId, false);
    await cleanUp(recovery.deps, refused);
    return true;
  }
  if (never && domain?.inDoubt !== undefined && !isDoubtOf(migrationId, domain.inDoubt)) {
    throw new XapiError('OPERATION_NOT_ALLOWED', [`in doubt: ${domain.inDoubt}`]);
  }
  if (never && domain !== undefined) await run(recovery, row, domain);
  if (restOf(row) === 'suspended') await recovery.deps.suspended.keep(row.uuid, migrationId);
  await journal.put({ ...row, state: 'done' });
  log.info('taken up again: the migration is complete', { migration: migrationId, vm: row.uuid, side: 'destination' });
  recovery.onEnded(migrationId, true);
  return true;
}

async function run(
  { deps: { backend, journal } }: DestinationRecovery,
  row: Row,
  { handle, uuid }: DomainInfo,
): Promise<void> {
  if (uuid !== row.uuid) await backend.rename(handle, row.uuid);
  await backend.markInDoubt(handle, undefined);
  await journal.put({ ...row, state: 'unpausing' });
  if ((row.request as VmMetadata).paused !== true) await backend.unpause(handle, row.migrationId);
}

/** Why a copy that was taken is in doubt. */
function doubtOf({ migrationId }: Row): string {
  const why = 'it was taken, was interrupted before it ran, and the source has not said that it may run';
  return encodeDoubt(migrationId, why);
}

async function domainOf({ deps }: DestinationRecovery, row: Row): Promise<DomainInfo | undefined> {
  const { handle } = row;
  if (restOf(row) !== undefined) return undefined;
  if (handle === undefined) throw new XapiError('INTERNAL_ERROR', ['a migration that was taken has no domain']);
  return (await deps.backend.list()).find((domain) => sameDomain(domain.handle, handle));
}

function rowIn({ deps }: DestinationRecovery, migrationId: string): Row | undefined {
  return deps.journal.get('destination', migrationId) as Row | undefined;
}
