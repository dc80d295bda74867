/**
 * What the coordinator has asked of hosts that makes, changes or ends a domain. A row for each call is durable, against a loss of power
 * too, before the host is asked, and goes with the records of what came of it. So a coordinator that starts anew, or that hears no
 * answer, knows what may be under way: the VM stays held, as in the call, until its host says that the job is over, or refuses it, as
 * it may still be on its way; then its record is brought to what is there. The host's own list counts where there is no row, as after
 * the restore of an older database.
 *
 * A host that does not answer may be at it, so the hold stays until it does, or an operator settles the VM. A host of an earlier version
 * cannot say it: there the hold stays until it is of this one.
 *
 * What only ends a domain, or its image, is asked for without a row where the disk has no room for it: docs/safety.md says why.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Ref } from '../../../idl/index.js';
import { within } from '../../base/deadline.js';
import { isOutOfSpace, messageOf, toXapiError, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { Table } from '../../base/store/store.js';
import type { BusyJob, HostService, HostState, Job, JobFate } from '../../host/service/service.js';
import { fromWireError } from '../../migrate/request.js';
import type { OpenTask } from '../../model/dispatch-deps.js';
import { nullRef } from '../../model/value.js';
import type { Database } from '../database/database.js';
import type { TaskService } from '../events/tasks.js';
import { setBooted, setHalted } from '../vm-records/lifecycle.js';
import { isVmOperation, type VmOperation } from '../vm-records/vm-operation-rules.js';
import type { PlacementDeps } from './placement.js';

export interface JobRow {
  readonly id: string;
  readonly host: Ref<'host'>;
  readonly vm: Ref<'VM'>;
  readonly operation: VmOperation;
  /** The task of the call; any other unique text where there is none. */
  readonly task: string;
  /** The task's name. */
  readonly label: string;
}

export interface JobsDeps extends PlacementDeps {
  readonly tasks: Pick<TaskService, 'reopen' | 'keep'>;
  readonly table: Table<JobRow>;
  /** Resolves when what was written outlives a loss of power. */
  readonly flushed: () => Promise<void>;
  readonly now: () => Date;
  readonly log: Log;
  /** Aborted when the pool closes. */
  readonly closed: AbortSignal;
}

/** The call for which a host is asked. */
type By = Pick<JobRow, 'operation' | 'task'>;

export interface PoolJobs {
  /**
   * Have a host change a VM that the caller holds, and bring its record to what came of it.
   * @param bring does the latter; asks the host unless it is given
   * @throws OUT_OF_SPACE where there is no room for the row, and it is needed; what the host throws, HOST_OFFLINE; where the outcome is not known the VM stays held when the caller lets go of it
   */
  onVm(
    vm: Ref<'VM'>,
    host: Ref<'host'>,
    by: By,
    call: (service: HostService, job: Job) => Promise<void>,
    bring?: () => Promise<void>,
  ): Promise<void>;
  /** Hold what an earlier run has asked for. */
  resume(): void;
  /** A host has said what it is doing. */
  look(host: Ref<'host'>, state: HostState): void;
  /** What may be under way on a VM, and nobody waits for. */
  openOn(vm: Ref<'VM'>): OpenJob[];
  /** What may be under way on a host. */
  ofHost(host: Ref<'host'>): JobRow[];
  /** An operator has settled a VM: what was open of it counts no more. Its record is right, and written. */
  giveUp(vm: Ref<'VM'>): Promise<void>;
}

/** What may be under way, and the task under which it holds the VM. */
export interface OpenJob {
  readonly row: JobRow;
  readonly task: string;
}

/** A job of which nobody waits for the end. */
interface Open {
  readonly row: JobRow;
  /** The task under which it is held. */
  readonly task: OpenTask;
  readonly release: () => void;
  /** Its host will tell of its end. */
  isAwaited: boolean;
}

const answerMs = 5_000;
/** So many jobs of this run are known, as what a host says may be of a moment ago. */
const remembered = 10_000;

export function createJobs(deps: JobsDeps): PoolJobs {
  const { db, members, table, log, closed } = deps;
  const rows = new Map<string, JobRow>(table.entries());
  const open = new Map<string, Open>();
  const asking = new Set<string>();
  const known = new Set<string>(rows.keys());

  const begin = async (row: JobRow): Promise<void> => {
    known.add(row.id);
    for (const oldest of known) if (known.size > remembered) known.delete(oldest);
    rows.set(row.id, row);
    try {
      await table.put(row.id, row);
      await deps.flushed();
    } catch (error) {
      const needsNone = ends.has(row.operation) && isOutOfSpace(error);
      if (!needsNone) {
        forget(row);
        throw error;
      }
      db.alongside(table.change(row.id, row));
      log.warn(`${row.label}: the disk of the database is full, so a restart would not know of it`, { job: row.id });
    }
  };
  /** The records are right: the row goes in the batch in which they are written, or the next. */
  const forget = ({ id }: JobRow): void => {
    rows.delete(id);
    db.alongside(table.change(id, undefined));
  };
  const openJob = (row: JobRow, key: Ref<'task'>): void => {
    const task = deps.tasks.reopen(key, row.label);
    const unkeep = deps.tasks.keep(key);
    const found = () => db.find('VM', row.vm) !== undefined;
    if (found()) db.putInMap('VM', row.vm, 'current_operations', key, row.operation);
    open.set(row.id, {
      row,
      task,
      isAwaited: false,
      release() {
        unkeep();
        if (found()) db.removeFromMap('VM', row.vm, 'current_operations', key);
      },
    });
  };
  /** The caller ends without knowing what comes of it. */
  const handOver = (row: JobRow): void => {
    if (closed.aborted) return;
    log.warn(`${row.label}: its host has not said how it ended, so the VM stays held`, { job: row.id });
    openJob(row, newTask());
  };
  const close = async (job: Open, end: (task: OpenTask) => void): Promise<void> => {
    const { row, task, release } = job;
    open.delete(row.id);
    forget(row);
    try {
      await db.saved();
    } catch (error) {
      // It is held until it is written, and its host is asked again.
      rows.set(row.id, row);
      open.set(row.id, job);
      throw error;
    }
    release();
    end(task);
  };
  /** Whether a host that was asked is done with it: `never` where it was not reached. */
  const hasEnded = async (row: JobRow, service: HostService, error: unknown): Promise<'yes' | 'never' | 'unknown'> => {
    const { code, cause } = toXapiError(error);
    if ((cause as { code?: unknown } | undefined)?.code === 'ECONNREFUSED') return 'never';
    if (code !== 'INTERNAL_ERROR' && code !== 'HOST_OFFLINE') return 'yes';
    const fate = await within(service.refuseJob(row.id), answerMs, 'no answer').catch(() => undefined);
    return fate === undefined || fate.state === 'open' ? 'unknown' : 'yes';
  };
  /** Ask what became of a job, and bring its end about where it is over. */
  const ask = async (job: Open): Promise<void> => {
    const { row } = job;
    if (asking.has(row.id)) return;
    asking.add(row.id);
    try {
      const fate = await members.service(row.host).refuseJob(row.id);
      job.isAwaited = fate.state === 'open';
      if (fate.state === 'open' || open.get(row.id) !== job) return;
      await bringToFate(deps, row, fate);
      if (open.get(row.id) !== job) return;
      await close(job, endOf(row, fate));
      log.info(`${row.label}, of which nothing was known, is over: ${fate.state}`, { job: row.id });
    } catch (error) {
      log.debug(`${row.label}: its end is not known yet: ${messageOf(error)}`, { job: row.id });
    } finally {
      asking.delete(row.id);
    }
  };
  /** What the host does without a row here. */
  const openUnknown = (host: Ref<'host'>, { id, task, operation, vm: uuid }: BusyJob): void => {
    const vm = uuid === undefined ? undefined : db.findByUuid('VM', uuid);
    if (vm === undefined || known.has(id) || Object.keys(db.get('VM', vm).current_operations).length > 0) return;
    const named = isVmOperation(operation) ? operation : 'start';
    const row: JobRow = { id, host, task, label: `VM.${named}`, operation: named, vm };
    known.add(id);
    rows.set(id, row);
    openJob(row, keyOf(db, task));
  };

  return {
    async onVm(vm, host, by, call, bring = () => members.reconcile(vm, host)) {
      const service = members.service(host);
      const row = newRow(db, vm, host, by);
      await begin(row);
      try {
        await call(service, jobOf(row));
      } catch (error) {
        const ended = await hasEnded(row, service, error);
        const settled = ended === 'yes' && (await succeeds(bring()));
        if (settled || ended === 'never') forget(row);
        else handOver(row);
        throw error;
      }
      await bring().catch((error: unknown) => {
        handOver(row);
        throw error;
      });
      forget(row);
    },
    resume() {
      for (const row of rows.values()) {
        // A host that was forgotten does nothing here any more.
        if (db.find('host', row.host) === undefined) {
          forget(row);
          continue;
        }
        log.info(`${row.label} was under way when the daemon ended: its host is asked`, { job: row.id });
        openJob(row, keyOf(db, row.task));
      }
    },
    look(host, { busy }) {
      if (busy === undefined) return;
      for (const job of busy) openUnknown(host, job);
      const underWay = new Set(busy.map(({ id }) => id));
      for (const job of open.values()) {
        if (job.row.host === host && !(job.isAwaited && underWay.has(job.row.id))) void ask(job);
      }
    },
    openOn: (vm) =>
      [...open.values()].filter(({ row }) => row.vm === vm).map(({ row, task }) => ({ row, task: task.ref })),
    ofHost: (host) => [...rows.values()].filter((row) => row.host === host),
    async giveUp(vm) {
      for (const job of open.values()) {
        const { row } = job;
        if (row.vm !== vm) continue;
        await close(job, (task) => task.fail(new XapiError('HOST_OFFLINE', [row.host])));
      }
    },
  };
}

function succeeds(work: Promise<void>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}

function newRow(db: Database, vm: Ref<'VM'>, host: Ref<'host'>, { operation, task }: By): JobRow {
  const label = db.find('task', task as Ref<'task'>)?.name_label ?? `VM.${operation}`;
  return { id: randomBytes(16).toString('hex'), host, vm, operation, task, label };
}

function jobOf({ id, task, operation }: JobRow): Job {
  return { id, task, operation };
}

function newTask(): Ref<'task'> {
  return `OpaqueRef:${randomUUID()}` as Ref<'task'>;
}

/** The task that the call had, where nothing else is shown under it. */
function keyOf(db: Database, task: string): Ref<'task'> {
  const isFree = task !== '' && task !== nullRef && db.find('task', task as Ref<'task'>) === undefined;
  return isFree ? (task as Ref<'task'>) : newTask();
}

/** What the task shows. A call that would have gone on after the job has done nothing more. */
function endOf({ operation, task }: JobRow, fate: JobFate): (shown: OpenTask) => void {
  if (fate.state === 'failed') {
    const { code, params } = fate.error;
    return (shown) => shown.fail(fromWireError({ code, params }));
  }
  if (fate.state === 'done' && operation !== 'destroy') return (shown) => shown.succeed('');
  return (shown) => shown.fail(new XapiError('TASK_CANCELLED', [task]));
}

const reboots: ReadonlySet<VmOperation> = new Set(['clean_reboot', 'hard_reboot']);
/** What ends a domain or its image, and makes none. */
const ends: ReadonlySet<VmOperation> = new Set([
  'clean_shutdown',
  'hard_shutdown',
  'shutdown',
  'destroy',
  'power_state_reset',
]);

/** Bring a VM's record to what came of a job that is over. @throws HOST_OFFLINE where its host does not say what is there */
async function bringToFate(
  { db, members, now }: JobsDeps,
  { vm, host, operation }: JobRow,
  fate: JobFate,
): Promise<void> {
  const before = db.find('VM', vm);
  if (before === undefined) return;
  await members.reconcile(vm, host);
  const after = db.find('VM', vm);
  if (after === undefined) return;
  db.update('VM', vm, { scheduled_to_be_resident_on: nullRef });
  if (reboots.has(operation) && isUp(before) && isUp(after) && before.domid !== after.domid) setBooted(db, vm, now());
  // Its image was all that was to go.
  if (ends.has(operation) && fate.state === 'done' && after.power_state === 'Suspended') setHalted(db, vm, now());
}

function isUp({ power_state }: { readonly power_state: string }): boolean {
  return power_state === 'Running' || power_state === 'Paused';
}
