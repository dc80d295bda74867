/** The state that migrations from this host share: which are under way, how others ended, what is still to be done for them. */
import type { GuestEnd } from '../../base/domain.js';
import { persist } from '../../base/retry.js';
import type { SourceRow } from '../../xenops/journal.js';
import type { Queue } from '../../xenops/queue.js';
import type { Semaphore } from '../../xenops/semaphore.js';
import type { SourceState } from '../protocol.js';
import type { MigrationEvent, MigrationOutcome } from '../request.js';
import type { SourceDeps, SourceSettings } from './attempt.js';
import { recoverSource, type SourceRecovery } from './recovery.js';

export interface MigrationsDeps {
  /** Read what a migration works with; called when the migration is queued. */
  readonly source: () => { readonly deps: SourceDeps; readonly settings: SourceSettings };
  readonly queue: Queue;
  /** Limits how many VMs leave at once. */
  readonly semaphore: Semaphore;
  /** Tell how a migration goes, and its end. */
  tell(event: MigrationEvent): void;
}

/** A migration that is queued or under way. */
export interface UnderWay {
  /** The uuid of the VM. */
  readonly uuid: string;
  readonly stop: AbortController;
  readonly ended: Promise<void>;
  committed: boolean;
}

/** The migrations of one run of the daemon; each map is by migration_id. */
export interface Outgoing {
  readonly deps: MigrationsDeps;
  readonly underWay: Map<string, UnderWay>;
  /** Outcomes that the journal does not have, or not yet. */
  readonly ended: Map<string, MigrationOutcome>;
  /** Work in the background for migrations that are over. */
  readonly recovering: Map<string, Promise<void>>;
  /** Aborted when the daemon stops. */
  readonly closing: AbortController;
}

/**
 * How many outcomes are kept that the journal does not have: of migrations that failed before their first row, or are in doubt.
 */
const kept = 1_000;

/** The error code of a migration whose guest has ended. */
export const endErrors = {
  poweroff: 'VM_HALTED',
  reboot: 'VM_REBOOTED',
  crash: 'VM_CRASHED',
} as const satisfies Record<GuestEnd, string>;

/** Whether the migration has no outcome yet, or the VM is still to be resumed. */
export function isOpen({ state, resumePending }: SourceRow<SourceState>): boolean {
  return state !== 'done' && (state !== 'failed' || resumePending === true);
}

/** The journal row of a migration; undefined before it has begun, and once it is forgotten. */
export function rowOf({ deps }: Outgoing, migrationId: string): SourceRow<SourceState> | undefined {
  return deps.source().deps.journal.get('source', migrationId) as SourceRow<SourceState> | undefined;
}

/** The journal rows of every migration from here. */
export function rowsOf({ deps }: Outgoing): SourceRow<SourceState>[] {
  const rows = deps.source().deps.journal.rows();
  return rows.filter((row) => row.side === 'source') as SourceRow<SourceState>[];
}

/** Note how a migration ended, and tell it. */
export function end({ deps, underWay, ended }: Outgoing, migrationId: string, outcome: MigrationOutcome): void {
  underWay.delete(migrationId);
  ended.set(migrationId, outcome);
  for (const [oldest] of ended) if (ended.size > kept) ended.delete(oldest);
  deps.tell({ kind: 'migration-ended', migrationId, outcome });
}

/** How a migration ended, where it has ended. */
export function outcomeOf(outgoing: Outgoing, migrationId: string): MigrationOutcome | undefined {
  const row = rowOf(outgoing, migrationId);
  // A failure is told only once the VM goes on.
  const journaled = row?.resumePending === true ? undefined : (row?.outcome as MigrationOutcome | undefined);
  return outgoing.ended.get(migrationId) ?? journaled;
}

/** What the recovery of a migration needs. */
export function recoveryOf(outgoing: Outgoing): SourceRecovery {
  const { deps } = outgoing;
  return {
    deps: deps.source().deps,
    inLane: deps.queue.run,
    onEnded: (migrationId, outcome) => end(outgoing, migrationId, outcome),
  };
}

/** Do in the background what a migration has left to do, until nothing is left. */
export function recoverLater(outgoing: Outgoing, migrationId: string): void {
  const { recovering, closing } = outgoing;
  if (recovering.has(migrationId)) return;
  const work = persist(() => recoverSource(recoveryOf(outgoing), migrationId), closing.signal);
  recovering.set(
    migrationId,
    work.finally(() => {
      recovering.delete(migrationId);
      tellLate(outgoing, migrationId);
    }),
  );
}

/** Tell, once it is flushed, an outcome that was written and could not be flushed. */
function tellLate(outgoing: Outgoing, migrationId: string): void {
  const row = rowOf(outgoing, migrationId);
  if (outgoing.closing.signal.aborted || row === undefined || row.state === 'going' || row.outcome === undefined)
    return;
  if (outgoing.ended.get(migrationId)?.status !== 'in-doubt') return;
  end(outgoing, migrationId, row.outcome as MigrationOutcome);
}
