/**
 * VM.pool_migrate and VM.migrate_send: from the checks to the records after the end.
 *
 * The row in the migration table comes first, then the source host is asked, which does everything by itself from there on.
 * Its events drive the task and tell the end. Within a pool the VM's record moves to the destination; across pools it goes
 * when the destination has taken the VM, and not before. A failure leaves the record as it was.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Ref } from '../../../idl/index.js';
import { untilAborted } from '../../base/deadline.js';
import { messageOf, toXapiError, XapiError } from '../../base/errors.js';
import type {
  HostEvent,
  HostService,
  MigrationOutcome,
  MigrationReport,
  WireError,
} from '../../host/service/service.js';
import type { CallTask } from '../../model/handlers.js';
import { nullRef } from '../../model/value.js';
import type { Departure, Waiter } from '../database/migration-table.js';
import type { TaskService } from '../events/tasks.js';
import { clearDoubt } from '../vm-records/in-doubt.js';
import { refusal, withVm } from '../vm-records/vm-allowed-operations.js';
import { compressionAsked } from './compression-asked.js';
import {
  applyOutcome,
  compressionOf,
  failureOf,
  figuresOf,
  type OutcomeDeps,
  showReport,
  tellOfMigration,
} from './outcome.js';
import { type MigrationPlan, planMigrateSend, planPoolMigrate, type SendCall } from './plan.js';

export interface DeparturesDeps extends OutcomeDeps {
  readonly tasks: TaskService;
  /** The coordinator. */
  readonly thisHost: () => Ref<'host'>;
  /** Aborted when the pool closes. */
  readonly closed: AbortSignal;
}

type Strings = Readonly<Record<string, string>>;
type VmRef = Ref<'VM'>;

export interface Departures {
  poolMigrate(task: CallTask, vm: VmRef, host: Ref<'host'>, options: Strings): Promise<void>;
  /** @returns the VM's reference at the destination */
  migrateSend(task: CallTask, vm: VmRef, call: SendCall): Promise<VmRef>;
  assertCanMigrate(vm: VmRef, call: SendCall): Promise<void>;
  /** Take up the migrations of an earlier run, under their old tasks. */
  resume(): void;
  /** A host's event about a migration that nobody waits for. */
  lateEvent(event: HostEvent): Promise<void>;
  /** Ask a host that answers again how its migrations went. */
  catchUp(host: Ref<'host'>, service: HostService): Promise<void>;
  /** A VM runs at the destination of its migration. */
  arrived(vm: VmRef): void;
}

export function createDepartures(deps: DeparturesDeps): Departures {
  const { db, table } = deps;
  const migrate = async (
    task: CallTask,
    vm: VmRef,
    operation: Departure['operation'],
    options: Strings,
    planning: Promise<MigrationPlan>,
  ) => {
    const plan = await cancellable(task, planning);
    await db.saved();
    // From the record's reading on it has a row, for which writes to it are refused.
    const row = departure(deps, task, vm, operation, options, plan);
    await table.putDeparture(row).catch((error: unknown) => {
      table.forget(row.id);
      throw error;
    });
    return follow(deps, row, task);
  };

  return {
    async poolMigrate(task, vm, host, options) {
      await withVm(db, vm, 'pool_migrate', task.ref, async () => {
        await migrate(task, vm, 'pool_migrate', options, planPoolMigrate(deps, vm, host, options));
      });
    },
    migrateSend: (task, vm, call) =>
      withVm(db, vm, 'migrate_send', task.ref, () =>
        migrate(task, vm, 'migrate_send', call.options, planMigrateSend(deps, vm, call)),
      ),
    async assertCanMigrate(vm, call) {
      const refused = refusal(vm, db.get('VM', vm), 'migrate_send');
      if (refused !== undefined) throw refused;
      (await planMigrateSend(deps, vm, call)).metadata();
    },
    resume() {
      for (const row of table.departures()) if (!row.inDoubt) resumeOne(deps, row);
    },
    lateEvent: (event) => lateEvent(deps, event),
    async catchUp(host, service) {
      for (const row of table.departures().filter((each) => each.source === host)) {
        if (row.cancelled === true) await service.cancel(row.id).catch(() => undefined);
        else if (!row.accepted) continue;
        const outcome = await service.outcome(row.id);
        if (outcome === undefined) continue;
        const event: HostEvent = { kind: 'migration-ended', migrationId: row.id, outcome };
        if (!table.tell(event)) await lateEvent(deps, event);
      }
    },
    arrived(vm) {
      const row = table.departures().find((each) => each.vm === vm && each.inDoubt);
      if (row === undefined) return;
      clearDoubt(deps, vm);
      tellOfMigration(deps, row);
      table.remove(row.id).catch((error: unknown) => deps.log.error(`migration ${row.id} is not forgotten`, { error }));
    },
  };
}

/** From its first moment on a migration can be cancelled; so far nothing has to be undone. @throws TASK_CANCELLED */
async function cancellable<T>(task: CallTask, planning: Promise<T>): Promise<T> {
  task.setCancellable(true);
  return untilAborted(planning, task.signal).catch((error: unknown) => {
    throw task.signal.aborted ? new XapiError('TASK_CANCELLED', [task.ref]) : error;
  });
}

function departure(
  deps: DeparturesDeps,
  task: CallTask,
  vm: VmRef,
  operation: Departure['operation'],
  options: Strings,
  plan: MigrationPlan,
): Departure {
  const { db } = deps;
  const id = randomBytes(16).toString('hex');
  const { source } = plan;
  const poolDefault = db.all('pool').some(([, pool]) => pool.migration_compression);
  return {
    id,
    vm,
    source,
    ...(plan.host === undefined ? {} : { destination: plan.host }),
    operation,
    task: task.ref,
    label: db.find('task', task.ref)?.name_label ?? `VM.${operation}`,
    request: {
      migrationId: id,
      task: task.ref,
      uuid: db.get('VM', vm).uuid,
      source: db.get('host', source).uuid,
      destination: plan.destination,
      metadata: plan.metadata(),
      compress: compressionAsked(options, plan.host === source, poolDefault),
    },
    accepted: false,
    inDoubt: false,
  };
}

/** Ask the source, unless it has been asked, wait for the end, and bring task and records to it. */
async function follow(deps: DeparturesDeps, row: Departure, task: CallTask): Promise<VmRef> {
  const release = deps.tasks.keep(task.ref);
  const outcome = await new Promise<MigrationOutcome>((resolve, reject) => {
    deps.table.wait(row.id, {
      progress: progressShower(task),
      figures: (figures) => task.putOtherConfig(figuresOf(figures)),
      ended: resolve,
    });
    task.putOtherConfig({ migration_id: row.id });
    task.setCancellable(true);
    submit(deps, row, task).then(() => cancelWith(deps, row, task), reject);
  })
    .catch((error: unknown): MigrationOutcome => {
      // A pool that closes knows nothing of the end; the next run takes the migration up.
      if (deps.closed.aborted) throw error;
      return { status: error === task.signal.reason ? 'cancelled' : 'failure', error: wireError(error) };
    })
    .finally(() => {
      deps.table.leave(row.id);
      release();
    });
  task.setCancellable(false);
  if (outcome.status === 'success') showReport(task, outcome.report);
  const known = deps.table.departure(row.id);
  // One that was given up by an operator is forgotten; one that may not have reached its source is ended when that answers.
  if (known !== undefined && known.cancelled !== true) await applyOutcome(deps, row, outcome);
  if (outcome.status === 'in-doubt') void askAgain(deps, row);
  if (outcome.status === 'success') return row.destination === undefined ? vmAtDestination(outcome.report) : row.vm;
  if (outcome.status === 'cancelled') throw new XapiError('TASK_CANCELLED', [row.task]);
  throw failureOf(row, outcome);
}

/** The end of a migration whose call has ended in doubt. */
async function lateEvent(deps: DeparturesDeps, event: HostEvent): Promise<void> {
  if (event.kind !== 'migration-ended') return;
  const row = deps.table.departure(event.migrationId);
  if (row?.inDoubt !== true || event.outcome.status === 'in-doubt') return;
  deps.log.info(`migration ${row.id}, which was in doubt, has ended: ${event.outcome.status}`);
  await applyOutcome(deps, row, event.outcome);
}

/** The true end may have come in the same breath as the doubt, when nobody listened for it yet. */
async function askAgain(deps: DeparturesDeps, { id, source }: Departure): Promise<void> {
  try {
    const outcome = await deps.members.service(source).outcome(id);
    if (outcome !== undefined) await lateEvent(deps, { kind: 'migration-ended', migrationId: id, outcome });
  } catch (error) {
    deps.log.debug(`migration ${id}: its source does not say more: ${messageOf(error)}`);
  }
}

/** A source that was asked, and is cancelled, has so long to answer before the task ends without it. */
const lastAnswerMs = 3_000;

/**
 * The same request again is the same migration, so a lost answer is asked for again.
 * @throws the host's refusal; the reason of the task's signal where that was cancelled and the source has not answered
 */
async function submit(deps: DeparturesDeps, row: Departure, task: CallTask): Promise<void> {
  if (row.accepted) return;
  for (let failures = 0; ; failures += 1) {
    if (deps.table.departure(row.id) === undefined) return;
    try {
      await answerOf(row.source, deps.members.service(row.source).migrate(row.request), task.signal);
      if (deps.table.departure(row.id) === undefined) return;
      // Where this is not written, the next run of the daemon asks again.
      await deps.table.putDeparture({ ...row, accepted: true }).catch((error: unknown) => {
        deps.log.error(`migration ${row.id} has begun, which is not written yet`, { error });
      });
      return;
    } catch (error) {
      // A host that answers has refused; from one that does not answer nothing is known.
      const { code } = toXapiError(error);
      const reachable = code !== 'HOST_OFFLINE' && (await answers(deps, row.source));
      const silence = code === 'INTERNAL_ERROR' || code === 'HOST_OFFLINE';
      if (!silence || (reachable && failures > 0 && !task.signal.aborted)) throw error;
      if (task.signal.aborted && !reachable) {
        await deps.table.putDeparture({ ...row, inDoubt: true, cancelled: true });
        throw task.signal.reason;
      }
      deps.log.warn(`migration ${row.id} has not reached its source yet: ${messageOf(error)}`);
      const stop = AbortSignal.any([deps.closed, task.signal]);
      await delay(Math.min(250 * 2 ** failures, 10_000), undefined, { signal: stop }).catch(() => undefined);
      deps.closed.throwIfAborted();
      if (task.signal.aborted) await delay(250, undefined, { signal: deps.closed });
    }
  }
}

function answers({ members }: DeparturesDeps, host: Ref<'host'>): Promise<boolean> {
  return members.state(host).then(
    () => true,
    () => false,
  );
}

/** What a source answers, unless the task is cancelled and it goes on saying nothing. */
async function answerOf(source: Ref<'host'>, work: Promise<void>, cancelled: AbortSignal): Promise<void> {
  const over = new AbortController();
  const silence = new Promise<never>((_resolve, reject) => {
    const wait = (): void => {
      delay(lastAnswerMs, undefined, { signal: over.signal }).then(
        () => reject(new XapiError('HOST_OFFLINE', [source])),
        () => undefined,
      );
    };
    if (cancelled.aborted) wait();
    else cancelled.addEventListener('abort', wait, { once: true, signal: over.signal });
  });
  try {
    await Promise.race([work, silence]);
  } finally {
    over.abort();
  }
}

/** From here on, and at once where it has been asked already: whoever cancels the task cancels the migration. */
function cancelWith(deps: DeparturesDeps, row: Departure, task: CallTask): void {
  const cancel = async (): Promise<void> => {
    for (let failures = 0; deps.table.departure(row.id) !== undefined; failures += 1) {
      try {
        return await deps.members.service(row.source).cancel(row.id);
      } catch (error) {
        deps.log.info(`migration ${row.id} goes on: ${messageOf(error)}`);
        if (toXapiError(error).code === 'OPERATION_NOT_ALLOWED') {
          task.setCancellable(false);
          throw error;
        }
        await delay(Math.min(250 * 2 ** failures, 10_000), undefined, { signal: deps.closed });
      }
    }
  };
  const begin = (): void => task.answerCancel(cancel());
  if (task.signal.aborted) begin();
  else task.signal.addEventListener('abort', begin, { once: true });
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

function resumeOne(deps: DeparturesDeps, row: Departure): void {
  const { db, tasks, log } = deps;
  const task = tasks.reopen(row.task, row.label);
  if (db.find('VM', row.vm) !== undefined) db.putInMap('VM', row.vm, 'current_operations', row.task, row.operation);
  log.info(`migration ${row.id} of VM ${row.request.uuid} is taken up again`);
  follow(deps, row, task)
    .finally(() => {
      if (db.find('VM', row.vm) !== undefined) db.removeFromMap('VM', row.vm, 'current_operations', row.task);
    })
    .then(
      (vm) => task.succeed(row.operation === 'pool_migrate' ? '<value></value>' : `<value>${vm}</value>`),
      (error: unknown) => task.fail(toXapiError(error)),
    );
}

/** A destination of another make may not say it. */
function vmAtDestination(report: MigrationReport): VmRef {
  return (report.vm as VmRef | undefined) ?? nullRef;
}

function wireError(error: unknown): WireError {
  const { code, params } = toXapiError(error);
  return { code, params };
}
