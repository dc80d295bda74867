/** The migrations that leave this host: queued in their VM's lane, followed, cancelled, remembered by their journal rows. */
import { messageOf, toXapiError, XapiError } from '../base/errors.js';
import { sameDomain } from '../base/hypervisor-protocol.js';
import type { SourceState } from '../migrate/protocol.js';
import { type MigrateRequest, type MigrationOutcome, type MigrationReport, toWireError } from '../migrate/request.js';
import { settleWithin } from '../migrate/settle.js';
import { migrateAsSource } from '../migrate/source.js';
import type { SourceDeps, SourceSettings } from '../migrate/source-attempt.js';
import { resume } from '../migrate/source-outcome.js';
import type { SourceRow } from '../xenops/journal.js';
import type { Queue } from '../xenops/queue.js';
import type { HostEvents } from './events.js';

export interface Migrations {
  migrate(request: MigrateRequest): Promise<void>;
  cancel(migrationId: string): Promise<void>;
  /** How it ended; undefined while it runs. One that this host does not know of never began, so it is a failure. */
  outcome(migrationId: string): Promise<MigrationOutcome | undefined>;
  /** Once, at the start: resume, settle or clean up what an earlier run of the daemon left behind. */
  recover(): Promise<void>;
  /** Stop those that can be stopped, and wait for all. */
  close(): Promise<void>;
}

export interface MigrationsDeps {
  /** What a migration works with, as it is when it is queued. */
  readonly source: () => { readonly deps: SourceDeps; readonly settings: SourceSettings };
  readonly queue: Queue;
  readonly events: HostEvents;
}

interface UnderWay {
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
  prepare: 0,
  connect: 0.02,
  copy: 0.05,
  restore: 0.95,
  commit: 0.97,
  run: 0.98,
  'clean-up': 0.99,
} as const;

export function createMigrations(deps: MigrationsDeps): Migrations {
  const underWay = new Map<string, UnderWay>();
  const ended = new Map<string, MigrationOutcome>();
  let closed = false;
  const rowOf = (id: string) => deps.source().deps.journal.get('source', id) as SourceRow<SourceState> | undefined;

  function end(migrationId: string, outcome: MigrationOutcome): void {
    underWay.delete(migrationId);
    ended.set(migrationId, outcome);
    for (const [oldest] of ended) if (ended.size > kept) ended.delete(oldest);
    deps.events.emit({ kind: 'migration-ended', migrationId, outcome });
  }

  function outcomeOf(migrationId: string): MigrationOutcome | undefined {
    return ended.get(migrationId) ?? (rowOf(migrationId)?.outcome as MigrationOutcome | undefined);
  }

  /** Asked again, the same migration is not begun again; where it has ended its end is told again. */
  async function migrate(request: MigrateRequest): Promise<void> {
    const { migrationId } = request;
    if (underWay.has(migrationId)) return;
    const known = outcomeOf(migrationId);
    if (known !== undefined) return deps.events.emit({ kind: 'migration-ended', migrationId, outcome: known });
    if (rowOf(migrationId) !== undefined) return;
    if (closed) throw new XapiError('INTERNAL_ERROR', ['the daemon of the source stops']);
    const { deps: sourceDeps, settings } = deps.source();
    const stop = new AbortController();
    const run = deps.queue.run(request.uuid, () =>
      migrateAsSource(sourceDeps, settings, request, {
        signal: stop.signal,
        onProgress: (phase, progress) =>
          deps.events.emit({
            kind: 'migration-progress',
            migrationId,
            phase,
            progress: phase === 'copy' ? shares.copy + progress * (shares.restore - shares.copy) : shares[phase],
          }),
        onCommit: () => {
          entry.committed = true;
        },
      }),
    );
    const ending = run
      .catch((error: unknown): MigrationOutcome => ({ status: 'failure', error: toWireError(toXapiError(error)) }))
      .then((outcome) => end(migrationId, outcome));
    const entry: UnderWay = { stop, committed: false, ended: ending };
    underWay.set(migrationId, entry);
  }

  async function cancel(migrationId: string): Promise<void> {
    const entry = underWay.get(migrationId);
    if (entry === undefined || entry.committed) {
      throw new XapiError('OPERATION_NOT_ALLOWED', ['the migration has passed its commit point']);
    }
    entry.stop.abort(new XapiError('TASK_CANCELLED', [migrationId]));
  }

  /** Nothing else is done with the VM meanwhile. */
  async function settleInLane(sourceDeps: SourceDeps, settings: SourceSettings, row: SourceRow<SourceState>) {
    const settled = deps.queue.run(row.uuid, () => settleRow(sourceDeps, settings, row));
    const outcome = await settled.catch((error: unknown) => inDoubt(sourceDeps, row, messageOf(error)));
    end(row.migrationId, outcome);
  }

  /** What an earlier run left cannot be dealt with now: the next start tries again. */
  function leftOver(row: SourceRow<SourceState>, error: unknown): MigrationOutcome {
    const { log } = deps.source().deps;
    log.error('a migration could not be ended', { migration: row.migrationId, vm: row.uuid, err: error });
    const done = row.state === 'done' || row.state === 'failed' ? (row.outcome as MigrationOutcome) : undefined;
    return done ?? failure(row, `the VM could not be resumed: ${messageOf(error)}`);
  }

  return {
    migrate,
    cancel,
    async outcome(migrationId) {
      const known = outcomeOf(migrationId);
      if (known !== undefined || underWay.has(migrationId) || rowOf(migrationId) !== undefined) return known;
      const why = `the source does not know of migration ${migrationId}: it never began`;
      return { status: 'failure', error: toWireError(new XapiError('INTERNAL_ERROR', [why])) };
    },
    async recover() {
      const { deps: sourceDeps, settings } = deps.source();
      const rows = sourceDeps.journal.rows().filter((row) => row.side === 'source') as SourceRow<SourceState>[];
      const over = rows.filter(({ state }) => state === 'done' || state === 'failed');
      await sourceDeps.journal.removeOld(over, rememberedMs);
      for (const row of rows) {
        if (row.state === 'going') void settleInLane(sourceDeps, settings, row);
        else await recoverRow(sourceDeps, row).catch((error: unknown) => end(row.migrationId, leftOver(row, error)));
      }
    },
    async close() {
      closed = true;
      const open = [...underWay.values()];
      for (const entry of open) {
        if (!entry.committed) entry.stop.abort(new XapiError('INTERNAL_ERROR', ['the daemon of the source stops']));
      }
      await Promise.all(open.map((entry) => entry.ended));
    },
  };
}

/** A migration that was not committed resumes here; one that is done has its old copy cleaned up. */
async function recoverRow(deps: SourceDeps, row: SourceRow<SourceState>): Promise<void> {
  if (row.state === 'done') return deps.backend.destroy(row.handle);
  if (row.state === 'failed') return;
  deps.log.warn('the VM goes on here: the daemon was started anew before the commit point', {
    migration: row.migrationId,
    vm: row.uuid,
  });
  await resume(deps.backend, row);
  await deps.journal.put({ ...row, state: 'failed', outcome: failure(row, 'the source was started anew') });
}

/** A commit without an answer: the destination is asked for a while; until it has answered the VM is in doubt. */
async function settleRow(
  deps: SourceDeps,
  settings: SourceSettings,
  row: SourceRow<SourceState>,
): Promise<MigrationOutcome> {
  const { agreed } = row;
  if (agreed === undefined || row.report === undefined) return inDoubt(deps, row, 'nothing was agreed');
  await mark(deps, row, `migration ${row.migrationId} is being settled`);
  const settlement = await settleWithin(settings.stepTimeoutMs, deps.peers, agreed, deps.log);
  if (settlement === 'unknown') return inDoubt(deps, row, 'the destination has not said whether it runs the VM');
  if (settlement === 'taken') {
    const outcome: MigrationOutcome = { status: 'success', report: row.report as MigrationReport };
    await deps.journal.put({ ...row, state: 'done', outcome });
    await deps.backend.destroy(row.handle);
    const { migrationId, token } = agreed;
    const told = deps.peers.at(agreed.xenopsUrl).acknowledge(migrationId, token);
    await told.catch((error: unknown) => deps.log.warn(`the destination is not told: ${messageOf(error)}`));
    return outcome;
  }
  const outcome = failure(row, 'the destination has refused the VM, as was settled after a restart of the source');
  await resume(deps.backend, row);
  await deps.journal.put({ ...row, state: 'failed', outcome });
  return outcome;
}

/** A domain that a lost hypervisor took with it needs no mark. */
async function mark(deps: SourceDeps, row: SourceRow, reason: string): Promise<void> {
  const domains = await deps.backend.list();
  if (domains.some(({ handle }) => sameDomain(handle, row.handle))) await deps.backend.markInDoubt(row.handle, reason);
}

/** The VM stays here under its own name, paused, until it is settled: at the next start. */
async function inDoubt(deps: SourceDeps, row: SourceRow, why: string): Promise<MigrationOutcome> {
  const log = (error: unknown) => deps.log.error('in doubt', { migration: row.migrationId, vm: row.uuid, err: error });
  log(new Error(why));
  await mark(deps, row, `migration ${row.migrationId}: ${why}`).catch(log);
  await deps.backend.rename(row.handle, row.uuid).catch(log);
  return { status: 'in-doubt', error: failure(row, why).error };
}

function failure(row: SourceRow, why: string) {
  const { source } = row.request as MigrateRequest;
  return {
    status: 'failure',
    error: toWireError(new XapiError('VM_MIGRATE_FAILED', [row.uuid, source, 'destination', why])),
  } as const;
}
