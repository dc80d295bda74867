/** The migrations that leave this host: queued in their VM's lane, followed, cancelled, remembered by their journal rows. */

import { setTimeout as delay } from 'node:timers/promises';
import { defined } from '../../base/defined.js';
import { type DomainHandle, type GuestEnd, sameDomain } from '../../base/domain.js';
import { toXapiError, XapiError } from '../../base/errors.js';
import { sameSecret } from '../../base/secret.js';
import type { SourceRow } from '../../xenops/journal.js';
import type { Permission, Phase, RunsWhere, SourceState } from '../protocol.js';
import { type CompressionReport, type MigrateRequest, type MigrationOutcome, toWireError } from '../request.js';
import {
  end,
  endErrors,
  isOpen,
  type MigrationsDeps,
  type Outgoing,
  outcomeOf,
  recoverLater,
  recoveryOf,
  rowOf,
  rowsOf,
  type UnderWay,
} from './outgoing.js';
import { migrateAsSource } from './phases.js';
import { applySettlement, copyOf, doubtOf, goOnHere, inDoubtOutcome, markInDoubt, notResumed } from './recovery.js';

export interface Migrations {
  migrate(request: MigrateRequest): Promise<void>;
  cancel(migrationId: string): Promise<void>;
  /** End the migration of a VM whose guest has ended by itself, unless the commit point is passed. */
  guestEnded(uuid: string, how: GuestEnd): void;
  /** How a migration ended; undefined while it is under way. A migration that this host does not know never began: a failure. */
  outcome(migrationId: string): Promise<MigrationOutcome | undefined>;
  /** Whether a destination that took the VM and was interrupted may run the VM. @throws SESSION_INVALID for a wrong token */
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
  /**
   * Resume, settle or clean up what an earlier run of the daemon left behind; once, at the start. Work that needs other hosts goes on
   * in the background.
   */
  recover(): Promise<void>;
  /** Stop the migrations that can be stopped, and wait for all. */
  close(): Promise<void>;
}

/** How long the outcome of a migration stays in the journal, for a coordinator that asks. */
const rememberedMs = 7 * 24 * 3600 * 1000;

/** The shares of preparing, of the copy and of the end in the progress of a migration. */
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

/** Make the source side of a host. */
export function createMigrations(deps: MigrationsDeps): Migrations {
  const outgoing: Outgoing = {
    deps,
    underWay: new Map(),
    ended: new Map(),
    recovering: new Map(),
    closing: new AbortController(),
  };
  return {
    migrate: (request) => migrate(outgoing, request),
    cancel: async (migrationId) => cancel(outgoing, migrationId),
    guestEnded: (uuid, how) => guestEnded(outgoing, uuid, how),
    outcome: async (migrationId) => answerOutcome(outgoing, migrationId),
    mayRun: async (migrationId, token) => mayRun(outgoing, migrationId, token),
    endEarlier: (uuid) => endEarlier(outgoing, uuid),
    leaving: () => rowsOf(outgoing).flatMap(({ state, uuid }) => (state === 'going' ? [uuid] : [])),
    concern: (uuid) =>
      [...outgoing.underWay.values()].some((entry) => entry.uuid === uuid) ||
      rowsOf(outgoing).some((row) => row.uuid === uuid && isOpen(row)),
    vmOf: (handle) =>
      rowsOf(outgoing).find((row) => isOpen(row) && row.handle !== undefined && sameDomain(row.handle, handle))?.uuid,
    forceSettlement: (uuid, runs) => forceSettlement(outgoing, uuid, runs),
    recover: () => recover(outgoing),
    close: () => close(outgoing),
  };
}

/** Queue a migration. Asked again with the same id, nothing begins; the outcome is told again where there is one. */
async function migrate(outgoing: Outgoing, request: MigrateRequest): Promise<void> {
  const { deps, underWay, closing } = outgoing;
  const { migrationId } = request;
  if (underWay.has(migrationId)) return;
  const known = outcomeOf(outgoing, migrationId);
  if (known !== undefined) return deps.tell({ kind: 'migration-ended', migrationId, outcome: known });
  if (rowOf(outgoing, migrationId) !== undefined) return;
  closing.signal.throwIfAborted();
  const stop = new AbortController();
  const ended = run(outgoing, request, stop.signal)
    .catch((error: unknown) => notBegun(request, toXapiError(error)))
    .then((outcome) => {
      end(outgoing, migrationId, outcome);
      recoverLater(outgoing, migrationId);
    });
  underWay.set(migrationId, { uuid: request.uuid, stop, committed: false, ended });
}

/** Wait for the VM's lane and a turn, and migrate, with the configuration of now. */
function run(outgoing: Outgoing, request: MigrateRequest, stop: AbortSignal): Promise<MigrationOutcome> {
  const { deps, underWay, closing } = outgoing;
  const { migrationId, uuid } = request;
  const source = deps.source();
  const work = async (standAside: (wait: () => Promise<void>) => Promise<void>) => {
    stop.throwIfAborted();
    await endEarlier(outgoing, uuid);
    return migrateAsSource(source.deps, source.settings, request, {
      signal: stop,
      closing: closing.signal,
      standAside,
      onProgress: (phase, progress) => tellProgress(deps, migrationId, phase, progress),
      onDecided: (compression) => tellProgress(deps, migrationId, 'connect', 0, compression),
      onFigures: (figures) => deps.tell({ kind: 'migration-figures', migrationId, figures }),
      onCommit: () => {
        (underWay.get(migrationId) as UnderWay).committed = true;
      },
    });
  };
  const onWait = () => {
    source.deps.log.info('queued', { migration: migrationId, task: request.task, vm: uuid, side: 'source' });
    tellProgress(deps, migrationId, 'queued', 0);
  };
  return deps.queue.run(uuid, work, { signal: stop, semaphore: deps.semaphore, onWait });
}

/** @param progress of the phase, 0 to 1 */
function tellProgress(
  { tell }: MigrationsDeps,
  migrationId: string,
  phase: Phase,
  progress: number,
  compression?: CompressionReport,
): void {
  const ofWhole = phase === 'copy' ? shares.copy + progress * (shares.restore - shares.copy) : shares[phase];
  tell({ kind: 'migration-progress', migrationId, phase, progress: ofWhole, ...defined({ compression }) });
}

function cancel({ underWay }: Outgoing, migrationId: string): void {
  const entry = underWay.get(migrationId);
  if (entry === undefined) throw new XapiError('OPERATION_NOT_ALLOWED', ['the migration has ended']);
  if (entry.committed) {
    throw new XapiError('OPERATION_NOT_ALLOWED', [
      'the migration has passed its commit point: the VM goes on at the destination',
    ]);
  }
  entry.stop.abort(new XapiError('TASK_CANCELLED', [migrationId]));
}

function guestEnded({ underWay }: Outgoing, uuid: string, how: GuestEnd): void {
  for (const entry of underWay.values()) {
    if (entry.uuid === uuid && !entry.committed) entry.stop.abort(new XapiError(endErrors[how], [uuid]));
  }
}

function answerOutcome(outgoing: Outgoing, migrationId: string): MigrationOutcome | undefined {
  const known = outcomeOf(outgoing, migrationId);
  const isKnown = outgoing.underWay.has(migrationId) || rowOf(outgoing, migrationId) !== undefined;
  if (known !== undefined || isKnown) return known;
  const why = `the source does not know of migration ${migrationId}: it never began`;
  return { status: 'failure', error: toWireError(new XapiError('INTERNAL_ERROR', [why])) };
}

function mayRun(outgoing: Outgoing, migrationId: string, token: string): Permission {
  const row = rowOf(outgoing, migrationId);
  if (row === undefined) return 'unknown';
  if (row.agreed === undefined || !sameSecret(row.agreed.token, token)) {
    throw new XapiError('SESSION_INVALID', [migrationId], 'that is not the token of the migration');
  }
  if (row.state === 'going' || row.state === 'done') return 'yes';
  return row.state === 'failed' ? 'no' : 'unknown';
}

/** Undo what earlier migrations of the VM have left to undo. The caller holds the VM's lane. */
async function endEarlier(outgoing: Outgoing, uuid: string): Promise<void> {
  for (const row of rowsOf(outgoing).filter((each) => each.uuid === uuid)) {
    if (row.state === 'going') throw new XapiError('OPERATION_NOT_ALLOWED', [`in doubt: ${doubtOf(row)}`]);
    await goOnHere(recoveryOf(outgoing), row.migrationId);
  }
}

async function forceSettlement(outgoing: Outgoing, uuid: string, runs: RunsWhere): Promise<boolean> {
  const { deps, underWay } = outgoing;
  const row = rowsOf(outgoing).find((each) => each.uuid === uuid && each.state === 'going');
  if (row === undefined) return false;
  const { migrationId } = row;
  if (underWay.has(migrationId)) {
    throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', uuid, 'migrate_send', migrationId]);
  }
  await deps.queue.run(uuid, async () => {
    if (runs === 'here') await releaseCopy(outgoing, row);
    const settlement = runs === 'here' ? 'refused' : 'taken';
    await applySettlement(recoveryOf(outgoing), migrationId, settlement, 'an operator has settled it');
  });
  recoverLater(outgoing, migrationId);
  return true;
}

/** Take the mark off the copy that is to go on here. @throws OPERATION_NOT_ALLOWED where the copy is gone */
async function releaseCopy({ deps }: Outgoing, row: SourceRow<SourceState>): Promise<void> {
  const { handle, uuid } = row;
  if (handle === undefined) return;
  const { backend } = deps.source().deps;
  if (copyOf(row, await backend.list()) === undefined) {
    throw new XapiError('OPERATION_NOT_ALLOWED', [`VM ${uuid} cannot go on here: its copy is gone`]);
  }
  await backend.markInDoubt(handle, undefined);
}

async function recover(outgoing: Outgoing): Promise<void> {
  const { deps, settings } = outgoing.deps.source();
  const rows = rowsOf(outgoing);
  const over = rows.filter(({ acknowledged }) => acknowledged);
  await deps.journal.removeOld(over, rememberedMs).catch(notWritten(outgoing));
  for (const row of rows.filter(({ acknowledged }) => !acknowledged)) {
    if (row.state === 'going') {
      await markInDoubt(deps, row);
      void tellDoubt(outgoing, row, settings.stepTimeoutMs);
    } else {
      await goOnHere(recoveryOf(outgoing), row.migrationId).catch((error: unknown) => noteStuck(outgoing, row, error));
    }
    recoverLater(outgoing, row.migrationId);
  }
}

/** Tell that the VM of a migration that was cut short cannot go on here yet, and go on trying. */
async function noteStuck(outgoing: Outgoing, row: SourceRow<SourceState>, error: unknown): Promise<void> {
  const { log, journal } = outgoing.deps.source().deps;
  const { migrationId, uuid } = row;
  log.error('a VM could not be resumed yet', { migration: migrationId, vm: uuid, error });
  const outcome = notResumed(row, error);
  const now = rowOf(outgoing, migrationId) ?? row;
  await journal.put({ ...now, outcome }).catch(notWritten(outgoing));
  end(outgoing, migrationId, outcome);
}

function notWritten({ deps }: Outgoing): (error: unknown) => void {
  return (error) => deps.source().deps.log.error('the journal cannot be written yet', { error });
}

/** Tell that a migration of an earlier run is in doubt, unless its destination answers soon. */
async function tellDoubt(outgoing: Outgoing, row: SourceRow<SourceState>, afterMs: number): Promise<void> {
  const { signal } = outgoing.closing;
  await delay(afterMs, undefined, { signal }).catch(() => undefined);
  if (signal.aborted || rowOf(outgoing, row.migrationId)?.state !== 'going') return;
  end(outgoing, row.migrationId, inDoubtOutcome(row));
}

async function close({ underWay, recovering, closing }: Outgoing): Promise<void> {
  closing.abort(new XapiError('INTERNAL_ERROR', ['the daemon of the source stops']));
  const open = [...underWay.values()];
  for (const entry of open) if (!entry.committed) entry.stop.abort(closing.signal.reason);
  await Promise.all([...open.map((entry) => entry.ended), ...recovering.values()]);
}

/** The outcome of a migration that was stopped while it waited for a turn, or could not begin. */
function notBegun({ task }: MigrateRequest, error: XapiError): MigrationOutcome {
  if (error.code !== 'TASK_CANCELLED') return { status: 'failure', error: toWireError(error) };
  return { status: 'cancelled', error: toWireError(new XapiError('TASK_CANCELLED', [task])) };
}
