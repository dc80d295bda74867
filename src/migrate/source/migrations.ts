/** The migrations that leave this host: queued in their VM's lane, followed, cancelled, remembered by their journal rows. */

import { setTimeout as delay } from 'node:timers/promises';
import { toXapiError, XapiError } from '../../base/errors.js';
import { type DomainHandle, type GuestEnd, sameDomain } from '../../base/protocol/hypervisor-protocol.js';
import { persist } from '../../base/retry.js';
import { sameSecret } from '../../base/secret.js';
import type { SourceRow } from '../../xenops/journal.js';
import type { Queue } from '../../xenops/queue.js';
import type { Turns } from '../../xenops/semaphore.js';
import type { Permission, Phase, RunsWhere, SourceState } from '../protocol.js';
import {
  type CompressionReport,
  type MigrateRequest,
  type MigrationEvent,
  type MigrationOutcome,
  toWireError,
} from '../request.js';
import type { SourceDeps, SourceSettings } from './attempt.js';
import { migrateAsSource } from './phases.js';
import {
  applySettlement,
  copyOf,
  doubtOf,
  goOnHere,
  inDoubtOutcome,
  markInDoubt,
  notResumed,
  recoverSource,
  type SourceRecovery,
} from './recovery.js';

export interface Migrations {
  migrate(request: MigrateRequest): Promise<void>;
  cancel(migrationId: string): Promise<void>;
  /** The guest of a VM has ended by itself: a migration of it that has not passed its commit point ends with it. */
  guestEnded(uuid: string, how: GuestEnd): void;
  /** How it ended; undefined while it runs. One that this host does not know of never began, so it is a failure. */
  outcome(migrationId: string): Promise<MigrationOutcome | undefined>;
  /** What the destination of a migration asks that took the VM and was interrupted. @throws SESSION_INVALID for a wrong token */
  mayRun(migrationId: string, token: string): Promise<Permission>;
  /** End the doubt about a VM by an operator's word. @returns whether one of its migrations from here was in doubt */
  forceSettlement(uuid: string, runs: RunsWhere): Promise<boolean>;
  /**
   * Undo what an earlier migration of a VM has left to undo. The caller holds the VM's lane.
   * @throws OPERATION_NOT_ALLOWED where one has no outcome yet, so that the VM may run elsewhere
   */
  endEarlier(uuid: string): Promise<void>;
  /** The uuids of the VMs that may run elsewhere: past their commit point, and no outcome known. */
  leaving(): string[];
  /** Whether a migration of the VM from here is queued, under way, in doubt, or has its VM's way back still to do. */
  concern(uuid: string): boolean;
  /** The uuid of the VM whose copy a domain is, while a migration from here has not ended. */
  vmOf(handle: DomainHandle): string | undefined;
  /** Once, at the start: resume, settle or clean up what an earlier run of the daemon left behind. What needs others goes on in the background. */
  recover(): Promise<void>;
  /** Stop those that can be stopped, and wait for all. */
  close(): Promise<void>;
}

export interface MigrationsDeps {
  /** What a migration works with, as it is when it is queued. */
  readonly source: () => { readonly deps: SourceDeps; readonly settings: SourceSettings };
  readonly queue: Queue;
  /** What limits how many leave at once. */
  readonly turns: Turns;
  /** Tell how a migration goes, and its end. */
  tell(event: MigrationEvent): void;
}

interface UnderWay {
  readonly uuid: string;
  readonly stop: AbortController;
  readonly ended: Promise<void>;
  committed: boolean;
}

/** Ends that are told again without the journal: of migrations that failed before their first row, or are in doubt. */
const kept = 1_000;

/** How long the journal says how a migration ended, for a coordinator that asks. */
const rememberedMs = 7 * 24 * 3600 * 1000;

/** Of the whole: preparing, the copy, the end. */
const shares = {
  queued: 0,
  prepare: 0,
  connect: 0.02,
  copy: 0.05,
  restore: 0.95,
  commit: 0.97,
  run: 0.98,
  'clean-up': 0.99,
} as const;

/** What a migration fails with whose guest has ended. */
const endErrors = { poweroff: 'VM_HALTED', reboot: 'VM_REBOOTED', crash: 'VM_CRASHED' } as const;

/** Whether the VM is not where the migration's end puts it yet. */
function isOpen({ state, resumePending }: SourceRow<SourceState>): boolean {
  return state !== 'done' && (state !== 'failed' || resumePending === true);
}

export function createMigrations(deps: MigrationsDeps): Migrations {
  const underWay = new Map<string, UnderWay>();
  const ended = new Map<string, MigrationOutcome>();
  const closing = new AbortController();
  const recovering = new Map<string, Promise<void>>();
  const rowOf = (id: string) => deps.source().deps.journal.get('source', id) as SourceRow<SourceState> | undefined;

  function end(migrationId: string, outcome: MigrationOutcome): void {
    underWay.delete(migrationId);
    ended.set(migrationId, outcome);
    for (const [oldest] of ended) if (ended.size > kept) ended.delete(oldest);
    deps.tell({ kind: 'migration-ended', migrationId, outcome });
  }

  function outcomeOf(migrationId: string): MigrationOutcome | undefined {
    const known = ended.get(migrationId);
    const row = rowOf(migrationId);
    // Nobody is to hear of a failure while the VM is still on its way back.
    return known ?? (row?.resumePending === true ? undefined : (row?.outcome as MigrationOutcome | undefined));
  }

  /** Asked again, the same migration is not begun again; where it has ended its end is told again. */
  async function migrate(request: MigrateRequest): Promise<void> {
    const { migrationId } = request;
    if (underWay.has(migrationId)) return;
    const known = outcomeOf(migrationId);
    if (known !== undefined) return deps.tell({ kind: 'migration-ended', migrationId, outcome: known });
    if (rowOf(migrationId) !== undefined) return;
    closing.signal.throwIfAborted();
    const { deps: sourceDeps, settings } = deps.source();
    const stop = new AbortController();
    const onProgress = (phase: Phase, progress: number, compression?: CompressionReport) =>
      deps.tell({
        kind: 'migration-progress',
        migrationId,
        phase,
        progress: phase === 'copy' ? shares.copy + progress * (shares.restore - shares.copy) : shares[phase],
        ...(compression === undefined ? {} : { compression }),
      });
    const onWait = () => {
      sourceDeps.log.info('queued', { migration: migrationId, task: request.task, vm: request.uuid, side: 'source' });
      onProgress('queued', 0);
    };
    const run = deps.queue.run(
      request.uuid,
      async (standAside) => {
        stop.signal.throwIfAborted();
        await endEarlier(request.uuid);
        return migrateAsSource(sourceDeps, settings, request, {
          signal: stop.signal,
          closing: closing.signal,
          standAside,
          onProgress,
          onDecided: (compression) => onProgress('connect', 0, compression),
          onFigures: (figures) => deps.tell({ kind: 'migration-figures', migrationId, figures }),
          onCommit: () => {
            entry.committed = true;
          },
        });
      },
      { signal: stop.signal, turns: deps.turns, onWait },
    );
    const ending = run
      .catch((error: unknown) => notBegun(request, toXapiError(error)))
      .then((outcome) => {
        end(migrationId, outcome);
        recoverLater(migrationId);
      });
    const entry: UnderWay = { uuid: request.uuid, stop, committed: false, ended: ending };
    underWay.set(migrationId, entry);
  }

  async function cancel(migrationId: string): Promise<void> {
    const entry = underWay.get(migrationId);
    if (entry === undefined) throw new XapiError('OPERATION_NOT_ALLOWED', ['the migration has ended']);
    if (entry.committed) {
      throw new XapiError('OPERATION_NOT_ALLOWED', [
        'the migration has passed its commit point: the VM goes on at the destination',
      ]);
    }
    entry.stop.abort(new XapiError('TASK_CANCELLED', [migrationId]));
  }

  function guestEnded(uuid: string, how: GuestEnd): void {
    for (const entry of underWay.values()) {
      if (entry.uuid === uuid && !entry.committed) entry.stop.abort(new XapiError(endErrors[how], [uuid]));
    }
  }

  function sourceRows(): SourceRow<SourceState>[] {
    const rows = deps.source().deps.journal.rows();
    return rows.filter((row) => row.side === 'source') as SourceRow<SourceState>[];
  }

  function recovery(): SourceRecovery {
    return { deps: deps.source().deps, inLane: deps.queue.run, onEnded: end };
  }

  /** What an earlier migration of the VM has left to undo is undone first. The caller holds the VM's lane. */
  async function endEarlier(uuid: string): Promise<void> {
    for (const row of sourceRows().filter((each) => each.uuid === uuid)) {
      if (row.state === 'going') throw new XapiError('OPERATION_NOT_ALLOWED', [`in doubt: ${doubtOf(row)}`]);
      await goOnHere(recovery(), row.migrationId);
    }
  }

  /** Do in the background what a migration has left to do. */
  function recoverLater(migrationId: string): void {
    if (recovering.has(migrationId)) return;
    const work = persist(() => recoverSource(recovery(), migrationId), closing.signal);
    recovering.set(
      migrationId,
      work.finally(() => {
        recovering.delete(migrationId);
        tellLate(migrationId);
      }),
    );
  }

  /** An end that was written and could not be flushed is told when it was. */
  function tellLate(migrationId: string): void {
    const row = rowOf(migrationId);
    if (closing.signal.aborted || row === undefined || row.state === 'going' || row.outcome === undefined) return;
    if (ended.get(migrationId)?.status === 'in-doubt') end(migrationId, row.outcome as MigrationOutcome);
  }

  /** What an earlier run has left in doubt is told as such when its destination does not answer soon. */
  async function tellDoubt(row: SourceRow<SourceState>, afterMs: number): Promise<void> {
    await delay(afterMs, undefined, { signal: closing.signal }).catch(() => undefined);
    if (!closing.signal.aborted && rowOf(row.migrationId)?.state === 'going') end(row.migrationId, inDoubtOutcome(row));
  }

  return {
    migrate,
    cancel,
    guestEnded,
    async outcome(migrationId) {
      const known = outcomeOf(migrationId);
      if (known !== undefined || underWay.has(migrationId) || rowOf(migrationId) !== undefined) return known;
      const why = `the source does not know of migration ${migrationId}: it never began`;
      return { status: 'failure', error: toWireError(new XapiError('INTERNAL_ERROR', [why])) };
    },
    async mayRun(migrationId, token) {
      const row = rowOf(migrationId);
      if (row === undefined) return 'unknown';
      if (row.agreed === undefined || !sameSecret(row.agreed.token, token)) {
        throw new XapiError('SESSION_INVALID', [migrationId], 'that is not the token of the migration');
      }
      if (row.state === 'going' || row.state === 'done') return 'yes';
      return row.state === 'failed' ? 'no' : 'unknown';
    },
    endEarlier,
    leaving: () => sourceRows().flatMap(({ state, uuid }) => (state === 'going' ? [uuid] : [])),
    concern: (uuid) =>
      [...underWay.values()].some((entry) => entry.uuid === uuid) ||
      sourceRows().some((row) => row.uuid === uuid && isOpen(row)),
    vmOf: (handle) =>
      sourceRows().find((row) => isOpen(row) && row.handle !== undefined && sameDomain(row.handle, handle))?.uuid,
    async forceSettlement(uuid, runs) {
      const row = sourceRows().find((each) => each.uuid === uuid && each.state === 'going');
      if (row === undefined) return false;
      const { migrationId, handle } = row;
      if (underWay.has(migrationId)) {
        throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', uuid, 'migrate_send', migrationId]);
      }
      await deps.queue.run(uuid, async () => {
        if (runs === 'here' && handle !== undefined) {
          const { backend } = deps.source().deps;
          if (copyOf(row, await backend.list()) === undefined) {
            throw new XapiError('OPERATION_NOT_ALLOWED', [`VM ${uuid} cannot go on here: its copy is gone`]);
          }
          await backend.markInDoubt(handle, undefined);
        }
        const settlement = runs === 'here' ? 'refused' : 'taken';
        await applySettlement(recovery(), migrationId, settlement, 'an operator has settled it');
      });
      recoverLater(migrationId);
      return true;
    },
    async recover() {
      const { deps: sourceDeps, settings } = deps.source();
      const rows = sourceRows();
      const notWritten = (error: unknown) => sourceDeps.log.error('the journal cannot be written yet', { error });
      const over = rows.filter(({ acknowledged }) => acknowledged);
      await sourceDeps.journal.removeOld(over, rememberedMs).catch(notWritten);
      for (const row of rows.filter(({ acknowledged }) => !acknowledged)) {
        if (row.state === 'going') {
          await markInDoubt(sourceDeps, row);
          void tellDoubt(row, settings.stepTimeoutMs);
        } else {
          await goOnHere(recovery(), row.migrationId).catch(async (error: unknown) => {
            sourceDeps.log.error('a VM could not be resumed yet', {
              migration: row.migrationId,
              vm: row.uuid,
              error,
            });
            const outcome = notResumed(row, error);
            const now = rowOf(row.migrationId) ?? row;
            await sourceDeps.journal.put({ ...now, outcome }).catch(notWritten);
            end(row.migrationId, outcome);
          });
        }
        recoverLater(row.migrationId);
      }
    },
    async close() {
      closing.abort(new XapiError('INTERNAL_ERROR', ['the daemon of the source stops']));
      const open = [...underWay.values()];
      for (const entry of open) if (!entry.committed) entry.stop.abort(closing.signal.reason);
      await Promise.all([...open.map((entry) => entry.ended), ...recovering.values()]);
    },
  };
}

/** One that was stopped while it waited for its turn, or could not begin. */
function notBegun({ task }: MigrateRequest, error: XapiError): MigrationOutcome {
  if (error.code !== 'TASK_CANCELLED') return { status: 'failure', error: toWireError(error) };
  return { status: 'cancelled', error: toWireError(new XapiError('TASK_CANCELLED', [task])) };
}
