/** The migrations that leave this host: queued in their VM's lane, followed, cancelled, remembered by their journal rows. */
import { toXapiError, XapiError } from '../base/errors.js';
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
  const rowOf = (id: string) => deps.source().deps.journal.get('source', id) as SourceRow<SourceState> | undefined;

  function end(migrationId: string, outcome: MigrationOutcome): void {
    underWay.delete(migrationId);
    ended.set(migrationId, outcome);
    deps.events.emit({ kind: 'migration-ended', migrationId, outcome });
  }

  async function migrate(request: MigrateRequest): Promise<void> {
    const { migrationId } = request;
    if (underWay.has(migrationId) || ended.has(migrationId) || rowOf(migrationId) !== undefined) return;
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

  return {
    migrate,
    cancel,
    async outcome(migrationId) {
      return ended.get(migrationId) ?? (rowOf(migrationId)?.outcome as MigrationOutcome | undefined);
    },
    async recover() {
      const { deps: sourceDeps, settings } = deps.source();
      const rows = sourceDeps.journal.rows().filter((row) => row.side === 'source') as SourceRow<SourceState>[];
      for (const row of rows) {
        if (row.state !== 'going') await recoverRow(sourceDeps, row);
        else void settleRow(sourceDeps, settings, row).then((outcome) => outcome && end(row.migrationId, outcome));
      }
    },
    async close() {
      const open = [...underWay.values()];
      for (const entry of open) {
        if (!entry.committed) entry.stop.abort(new XapiError('HOST_OFFLINE', ['the daemon of the source stops']));
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

/** A commit without an answer: the destination is asked until it gives one; meanwhile the VM is in doubt. */
async function settleRow(
  deps: SourceDeps,
  settings: SourceSettings,
  row: SourceRow<SourceState>,
): Promise<MigrationOutcome | undefined> {
  if (row.agreed === undefined || row.report === undefined) return undefined;
  await deps.backend.markInDoubt(row.handle, `migration ${row.migrationId} is being settled`);
  const settlement = await settleWithin(settings.stepTimeoutMs, deps.peers, row.agreed, deps.log);
  if (settlement === 'unknown') return undefined;
  if (settlement === 'taken') {
    const outcome: MigrationOutcome = { status: 'success', report: row.report as MigrationReport };
    await deps.journal.put({ ...row, state: 'done', outcome });
    await deps.backend.destroy(row.handle);
    return outcome;
  }
  const outcome = failure(row, 'the destination has refused the VM, as was settled after a restart of the source');
  await resume(deps.backend, row);
  await deps.journal.put({ ...row, state: 'failed', outcome });
  return outcome;
}

function failure(row: SourceRow, why: string): MigrationOutcome {
  const { source } = row.request as MigrateRequest;
  return {
    status: 'failure',
    error: toWireError(new XapiError('VM_MIGRATE_FAILED', [row.uuid, source, 'destination', why])),
  };
}
