/**
 * VM.pool_migrate and VM.migrate_send: from the checks to the records after the end.
 *
 * The row in the migration table comes first, then the source host is asked, which does everything by itself from there on. Its events
 * drive the task and tell the end, which comes in by one door, `end`. Within a pool the VM's record moves to the destination; across
 * pools the record goes when the destination has taken the VM, and not before. A failure leaves the record as it was.
 */
import { randomBytes } from 'node:crypto';
import type { Ref } from '../../../idl/index.js';
import { untilAborted } from '../../base/deadline.js';
import { defined } from '../../base/defined.js';
import { messageOf, toXapiError, XapiError } from '../../base/errors.js';
import type {
  CompressionReport,
  CopyFigures,
  HostEvent,
  HostService,
  MigrationOutcome,
  WireError,
} from '../../host/service/service.js';
import type { CallTask } from '../../model/handlers.js';
import { nullRef } from '../../model/value.js';
import { beginHold, endHold } from '../database/hold.js';
import type { Departure } from '../database/migration-table.js';
import type { TaskService } from '../events/tasks.js';
import type { DomainDeps } from '../vm-records/domain-spec.js';
import { refusal, withVm } from '../vm-records/vm-allowed-operations.js';
import { compressionAsked } from './compression-asked.js';
import {
  applyOutcome,
  compressionOf,
  type DepartureEnd,
  failureOf,
  figuresOf,
  type OutcomeDeps,
  showReport,
} from './outcome.js';
import { type MigrationPlan, planMigrateSend, planPoolMigrate, type SendCall } from './plan.js';
import { cancelWithTask, type SubmissionDeps, submit } from './submission.js';

export interface DeparturesDeps extends OutcomeDeps, DomainDeps, SubmissionDeps {
  readonly tasks: TaskService;
  /** The coordinator. */
  readonly thisHost: () => Ref<'host'>;
}

type Strings = Readonly<Record<string, string>>;
type VmRef = Ref<'VM'>;

export interface Departures {
  /** Migrate a VM to another host of the pool, or to its own. @throws what stands in the way, or has made the migration fail */
  poolMigrate(task: CallTask, vm: VmRef, host: Ref<'host'>, options: Strings): Promise<void>;
  /**
   * Migrate a VM within the pool, or to another pool.
   * @returns the VM's reference at the destination
   * @throws as `poolMigrate` does
   */
  migrateSend(task: CallTask, vm: VmRef, call: SendCall): Promise<VmRef>;
  /** Check that a VM could be sent now. @throws what stands in the way */
  assertCanMigrate(vm: VmRef, call: SendCall): Promise<void>;
  /** Take up the migrations of an earlier run, under their old tasks. */
  resume(): void;
  /** Take what a source tells of a migration: its progress, its figures or its end. */
  hear(event: HostEvent): Promise<void>;
  /** Ask a host that answers again how its migrations went. */
  catchUp(host: Ref<'host'>, service: HostService): Promise<void>;
  /** Take note of a VM that has been seen to run at the destination of its migration. */
  arrived(vm: VmRef): void;
  /** Forget a migration that an operator has given up, and end its call, where one waits. */
  giveUp(id: string, outcome: MigrationOutcome): Promise<void>;
}

/** What a call that waits for a migration's end hears. */
interface Waiter {
  progress(progress: number, phase: string, compression?: CompressionReport): void;
  figures(figures: CopyFigures): void;
  ended(outcome: MigrationOutcome): void;
}

interface Context extends DeparturesDeps {
  /** The calls that wait for an end, by their migrations' ids. */
  readonly waiters: Map<string, Waiter>;
}

/** A call that migrates a VM. */
interface MigrationCall {
  readonly task: CallTask;
  readonly vm: VmRef;
  readonly operation: Departure['operation'];
  readonly options: Strings;
}

/** Make the migrations that leave hosts of this pool. */
export function createDepartures(deps: DeparturesDeps): Departures {
  const { db, table } = deps;
  const context: Context = { ...deps, waiters: new Map() };
  return {
    async poolMigrate(task, vm, host, options) {
      const call = { task, vm, operation: 'pool_migrate', options } as const;
      await withVm(db, vm, call.operation, task.ref, async () => {
        await migrate(context, call, planPoolMigrate(deps, vm, host, options));
      });
    },
    migrateSend(task, vm, send) {
      const call = { task, vm, operation: 'migrate_send', options: send.options } as const;
      return withVm(db, vm, call.operation, task.ref, () => migrate(context, call, planMigrateSend(deps, vm, send)));
    },
    async assertCanMigrate(vm, call) {
      const refused = refusal(vm, db.get('VM', vm), 'migrate_send');
      if (refused !== undefined) throw refused;
      (await planMigrateSend(deps, vm, call)).metadata();
    },
    resume() {
      for (const row of table.departures()) if (!row.inDoubt) resumeOne(context, row);
    },
    hear: (event) => hear(context, event),
    catchUp: (host, service) => catchUp(context, host, service),
    arrived(vm) {
      const row = table.departures().find((each) => each.vm === vm && each.inDoubt);
      if (row === undefined) return;
      end(context, row.id, { status: 'arrived' }).catch((error: unknown) =>
        deps.log.error(`migration ${row.id} is not forgotten`, { error }),
      );
    },
    async giveUp(id, outcome) {
      const waiter = context.waiters.get(id);
      context.waiters.delete(id);
      await table.remove(id);
      waiter?.ended(outcome);
    },
  };
}

/**
 * Migrate a VM that the call holds.
 * @returns the VM's reference at the destination
 */
async function migrate(deps: Context, call: MigrationCall, planning: Promise<MigrationPlan>): Promise<VmRef> {
  const plan = await cancellable(call.task, planning);
  await deps.db.saved();
  // From the record's reading on the migration has a row, for which writes to the record are refused.
  const row = newDeparture(deps, call, plan);
  await deps.table.putDeparture(row).catch((error: unknown) => {
    deps.table.forget(row.id);
    throw error;
  });
  return follow(deps, row, call.task);
}

/** From its first moment on a migration can be cancelled; so far nothing has to be undone. @throws TASK_CANCELLED */
async function cancellable<T>(task: CallTask, planning: Promise<T>): Promise<T> {
  task.setCancellable(true);
  return untilAborted(planning, task.signal).catch((error: unknown) => {
    throw task.signal.aborted ? new XapiError('TASK_CANCELLED', [task.ref]) : error;
  });
}

function newDeparture(
  { db }: Context,
  { task, vm, operation, options }: MigrationCall,
  plan: MigrationPlan,
): Departure {
  const id = randomBytes(16).toString('hex');
  const { source, host } = plan;
  const poolDefault = db.all('pool').some(([, pool]) => pool.migration_compression);
  const request = {
    migrationId: id,
    task: task.ref,
    uuid: db.get('VM', vm).uuid,
    source: db.get('host', source).uuid,
    destination: plan.destination,
    metadata: plan.metadata(),
    compress: compressionAsked(options, host === source, poolDefault),
  };
  return defined({
    id,
    vm,
    source,
    destination: host,
    operation,
    task: task.ref,
    label: db.find('task', task.ref)?.name_label ?? `VM.${operation}`,
    request,
    accepted: false,
    inDoubt: false,
  });
}

/**
 * Have the source migrate, wait for the end, and bring task and records to it.
 * @returns the VM's reference at the destination
 */
async function follow(deps: Context, row: Departure, task: CallTask): Promise<VmRef> {
  const outcome = await outcomeOf(deps, row, task);
  task.setCancellable(false);
  if (outcome.status === 'success') showReport(task, outcome.report);
  const known = deps.table.departure(row.id);
  // One that was given up by an operator is forgotten; one that may not have reached its source is ended when that answers.
  if (known !== undefined && known.cancelled !== true) await applyOutcome(deps, row, outcome);
  if (outcome.status === 'in-doubt') void askAgain(deps, row);
  if (outcome.status === 'cancelled') throw new XapiError('TASK_CANCELLED', [row.task]);
  if (outcome.status !== 'success') throw failureOf(row, outcome);
  // A destination of another make may not say it.
  return row.destination === undefined ? ((outcome.report.vm as VmRef | undefined) ?? nullRef) : row.vm;
}

/** Ask the source, unless it has been asked, and wait for the end. @throws where the pool closes */
async function outcomeOf(deps: Context, row: Departure, task: CallTask): Promise<MigrationOutcome> {
  const release = deps.tasks.keep(task.ref);
  try {
    return await new Promise<MigrationOutcome>((resolve, reject) => {
      deps.waiters.set(row.id, waiterOf(task, resolve));
      task.putOtherConfig({ migration_id: row.id });
      task.setCancellable(true);
      submit(deps, row, task).then(() => cancelWithTask(deps, row, task), reject);
    });
  } catch (error) {
    // A pool that closes knows nothing of the end; the next run takes the migration up.
    if (deps.closed.aborted) throw error;
    return { status: error === task.signal.reason ? 'cancelled' : 'failure', error: wireError(error) };
  } finally {
    deps.waiters.delete(row.id);
    release();
  }
}

function waiterOf(task: CallTask, ended: Waiter['ended']): Waiter {
  return { progress: progressShower(task), figures: (figures) => task.putOtherConfig(figuresOf(figures)), ended };
}

/**
 * The one door by which the end of a migration comes in: from the source's event, from the source that is asked, or from the VM's
 * having been seen at its destination. A call that waits for the end gets it, and brings it about; the end of a migration whose call
 * has ended in doubt is brought about here. Any other end has been brought about before.
 */
async function end(deps: Context, id: string, outcome: DepartureEnd): Promise<void> {
  const waiter = deps.waiters.get(id);
  if (waiter !== undefined && outcome.status !== 'arrived') {
    deps.waiters.delete(id);
    waiter.ended(outcome);
    return;
  }
  const row = deps.table.departure(id);
  if (row?.inDoubt !== true || outcome.status === 'in-doubt') return;
  deps.log.info(`migration ${id}, which was in doubt, has ended: ${outcome.status}`);
  await applyOutcome(deps, row, outcome);
}

async function hear(deps: Context, event: HostEvent): Promise<void> {
  if (event.kind === 'migration-ended') await end(deps, event.migrationId, event.outcome);
  if (event.kind === 'migration-figures') deps.waiters.get(event.migrationId)?.figures(event.figures);
  if (event.kind !== 'migration-progress') return;
  deps.waiters.get(event.migrationId)?.progress(event.progress, event.phase, event.compression);
}

async function catchUp(deps: Context, host: Ref<'host'>, service: HostService): Promise<void> {
  for (const { id, cancelled, accepted } of deps.table.departures().filter((each) => each.source === host)) {
    if (cancelled === true) await service.cancel(id).catch(() => undefined);
    else if (!accepted) continue;
    const outcome = await service.outcome(id);
    if (outcome !== undefined) await end(deps, id, outcome);
  }
}

/** Ask a source again: the true end may have come in the same breath as the doubt, when nobody listened for it yet. */
async function askAgain(deps: Context, { id, source }: Departure): Promise<void> {
  try {
    const outcome = await deps.members.service(source).outcome(id);
    if (outcome !== undefined) await end(deps, id, outcome);
  } catch (error) {
    deps.log.debug(`migration ${id}: its source does not say more: ${messageOf(error)}`);
  }
}

const phasesPastCommit = new Set(['commit', 'run', 'clean-up']);

/** Shows progress in the task; the phase, as `queued`, when it is another one. */
function progressShower(task: CallTask): Waiter['progress'] {
  let shown: string | undefined;
  return (progress, phase, compression) => {
    if (phasesPastCommit.has(phase)) task.setCancellable(false);
    if (phase !== shown) task.putOtherConfig({ phase });
    shown = phase;
    if (compression !== undefined) task.putOtherConfig(compressionOf(compression));
    task.setProgress(progress);
  };
}

function resumeOne(deps: Context, row: Departure): void {
  const { db, tasks, log } = deps;
  const task = tasks.reopen(row.task, row.label);
  const vm = { cls: 'VM', ref: row.vm } as const;
  if (db.find('VM', row.vm) !== undefined) beginHold(db, vm, row.operation, row.task);
  log.info(`migration ${row.id} of VM ${row.request.uuid} is taken up again`);
  follow(deps, row, task)
    .finally(() => endHold(db, vm, row.task))
    .then(
      (ref) => task.succeed(row.operation === 'pool_migrate' ? '<value></value>' : `<value>${ref}</value>`),
      (error: unknown) => task.fail(toXapiError(error)),
    );
}

function wireError(error: unknown): WireError {
  const { code, params } = toXapiError(error);
  return { code, params };
}
