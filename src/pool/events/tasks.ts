/**
 * Tasks: what calls show of their progress and their end. Rows are in memory; who waits for a task sees each update, so the
 * order of updates is fixed: a task whose status says that it ended has everything else in place.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { OpenTask, Tasks } from '../../model/dispatch-deps.js';
import type { Database } from '../database/database.js';

export interface TaskDeps {
  readonly db: Database;
  /** The host that tasks are of. */
  readonly thisHost: () => Ref<'host'>;
  readonly now: () => Date;
  /** Milliseconds that have passed, whatever is done to the clock. */
  readonly elapsed: () => number;
}

type Task = RecordOf<'task'>;
type TaskRef = Ref<'task'>;

export interface TaskService extends Tasks {
  /** A task that began before this daemon did, under its old reference. */
  reopen(ref: TaskRef, label: string): OpenTask;
  /** A task that its caller drives with task.set_status and the like. */
  createForCaller(label: string, description: string): TaskRef;
  /** Change a task that its caller drives. @throws HANDLE_INVALID, OPERATION_NOT_ALLOWED for a task of the server's */
  drive(ref: TaskRef, patch: Partial<Task>): void;
  /** Remove a finished task; mark a pending one so that it goes when it ends. @throws HANDLE_INVALID */
  destroy(ref: TaskRef): void;
  /** Ask a task to stop; its signal is aborted at once. Fine where it has ended. @throws HANDLE_INVALID, OPERATION_NOT_ALLOWED where it cannot */
  cancel(ref: TaskRef): Promise<void>;
  /**
   * Keep a pending task, however long it pends.
   * @returns ends that
   */
  keep(ref: TaskRef): () => void;
  /** Remove tasks that ended 65 minutes ago, and those that pend for 24 hours and that nobody keeps. */
  collect(): void;
}

const finishedLimit = 65 * 60 * 1000;
const pendingLimit = 24 * 60 * 60 * 1000;
/** What a task cannot say in this time of the request to stop is shown by its end. */
const answerMs = 2_000;

/** What is known of tasks beside their rows. */
interface Context extends TaskDeps {
  readonly cancellers: Map<TaskRef, AbortController>;
  /** What the calls that were asked to stop say of that. */
  readonly answers: Map<TaskRef, Promise<void>>;
  /** Tasks that their callers drive. */
  readonly driven: Set<TaskRef>;
  /** Tasks that go when they end. */
  readonly doomed: Set<TaskRef>;
  /** Tasks that are not collected while they pend. */
  readonly kept: Set<TaskRef>;
  /** Since when a task pends, or has ended, as `elapsed` tells. */
  readonly since: Map<TaskRef, number>;
}

/** Make the tasks of a pool that has just been opened: none of an earlier run is there. */
export function createTasks(deps: TaskDeps): TaskService {
  const context: Context = {
    ...deps,
    cancellers: new Map(),
    answers: new Map(),
    driven: new Set(),
    doomed: new Set(),
    kept: new Set(),
    since: new Map(),
  };
  const { db } = deps;
  return {
    create: (label) => open(context, make(context, { name_label: label })),
    end: (ref, error) => endDriven(context, ref as TaskRef, error),
    reopen: (ref, label) => open(context, make(context, { name_label: label }, ref)),
    createForCaller(label, description) {
      const ref = make(context, { name_label: label, name_description: description });
      context.driven.add(ref);
      return ref;
    },
    drive: (ref, patch) => drive(context, ref, patch),
    destroy(ref) {
      db.get('task', ref);
      if (isOpen(context, ref)) context.doomed.add(ref);
      else remove(context, ref);
    },
    cancel: (ref) => cancel(context, ref),
    keep(ref) {
      context.kept.add(ref);
      return () => void context.kept.delete(ref);
    },
    collect: () => collect(context),
  };
}

function make({ db, now, thisHost, since, elapsed }: Context, given: Partial<Task>, known?: TaskRef): TaskRef {
  const begun = { created: now(), status: 'pending', type: '<none/>', resident_on: thisHost() } as const;
  const ref = db.create('task', { ...begun, ...given }, known);
  since.set(ref, elapsed());
  return ref;
}

/** Change a task; fine where its row was collected while the call still runs. */
function update({ db }: Context, ref: TaskRef, patch: Partial<Task>): void {
  if (db.find('task', ref) !== undefined) db.update('task', ref, patch);
}

function remove({ db, doomed, driven, cancellers, answers, since }: Context, ref: TaskRef): void {
  doomed.delete(ref);
  driven.delete(ref);
  cancellers.delete(ref);
  answers.delete(ref);
  since.delete(ref);
  if (db.find('task', ref) !== undefined) db.destroy('task', ref);
}

function isOpen({ db }: Context, ref: TaskRef): boolean {
  return isPending(db.find('task', ref)?.status);
}

function isPending(status: Task['status'] | undefined): boolean {
  return status === 'pending' || status === 'cancelling';
}

/** A task of the server's, as the call that it shows drives it. */
function open(context: Context, ref: TaskRef): OpenTask {
  const { db, now } = context;
  const canceller = new AbortController();
  context.cancellers.set(ref, canceller);
  return {
    ref,
    signal: canceller.signal,
    setProgress: (progress) => update(context, ref, { progress: Math.min(Math.max(progress, 0), 1) }),
    putOtherConfig(entries) {
      const before = db.find('task', ref)?.other_config;
      if (before === undefined || Object.entries(entries).every(([key, value]) => before[key] === value)) return;
      db.update('task', ref, { other_config: { ...before, ...entries } });
    },
    setCancellable: (cancellable) => update(context, ref, { allowed_operations: cancellable ? ['cancel'] : [] }),
    answerCancel(answer) {
      answer.catch(() => undefined);
      context.answers.set(ref, answer);
    },
    succeed: (result) =>
      finish(context, ref, [
        { allowed_operations: [] },
        { finished: now() },
        { progress: 1 },
        { result },
        { status: 'success' },
      ]),
    fail: (error) => finish(context, ref, failure(error, now())),
    destroy: () => remove(context, ref),
  };
}

/** The steps in which a task shows that its call has failed, or was cancelled. */
function failure({ code, params }: XapiError, finished: Date): Partial<Task>[] {
  if (code === 'TASK_CANCELLED') {
    return [{ progress: 1 }, { finished }, { status: 'cancelled' }, { allowed_operations: [] }];
  }
  return [
    { progress: 1 },
    { error_info: [code, ...params] },
    { backtrace: '()' },
    { finished },
    { allowed_operations: [] },
    { status: 'failure' },
  ];
}

/** Finish a task by steps, each of which who waits for the task sees. */
function finish(context: Context, ref: TaskRef, steps: readonly Partial<Task>[]): void {
  update(context, ref, { current_operations: {} });
  for (const patch of steps) update(context, ref, patch);
  noteFinished(context, ref);
}

/** A finished task cannot be cancelled, is collected some time after, and goes at once where it is to. */
function noteFinished(context: Context, ref: TaskRef): void {
  const { cancellers, answers, since, doomed, elapsed } = context;
  cancellers.delete(ref);
  answers.delete(ref);
  if (since.has(ref)) since.set(ref, elapsed());
  if (doomed.has(ref)) remove(context, ref);
}

/** Finish a task that its caller drives; fine where the caller has done so, or it is none. */
function endDriven(context: Context, ref: TaskRef, error: XapiError | undefined): void {
  const { db, driven, now } = context;
  if (!driven.has(ref) || db.find('task', ref)?.status !== 'pending') return;
  const finished = { progress: 1, finished: now() };
  if (error === undefined) db.update('task', ref, { ...finished, status: 'success' });
  else db.update('task', ref, { ...finished, error_info: [error.code, ...error.params], status: 'failure' });
  noteFinished(context, ref);
}

function drive(context: Context, ref: TaskRef, patch: Partial<Task>): void {
  const { db, driven, now } = context;
  db.get('task', ref);
  if (!driven.has(ref)) {
    throw new XapiError('OPERATION_NOT_ALLOWED', [
      `${ref} shows a call of the server's; only a task that task.create made can be set`,
    ]);
  }
  const ends = patch.status !== undefined && !isPending(patch.status);
  db.update('task', ref, ends ? { finished: now(), ...patch } : patch);
  if (ends) noteFinished(context, ref);
}

async function cancel(context: Context, ref: TaskRef): Promise<void> {
  const { db, cancellers, answers } = context;
  const row = db.get('task', ref);
  if (!isOpen(context, ref)) return;
  const canceller = cancellers.get(ref);
  if (canceller === undefined || !row.allowed_operations.includes('cancel')) {
    throw new XapiError('OPERATION_NOT_ALLOWED', [
      `${ref} (${row.name_label}) cannot be cancelled now: it cannot stop, or it has passed the point up to which it could`,
    ]);
  }
  db.update('task', ref, { current_operations: { [ref]: 'cancel' } });
  canceller.abort();
  try {
    await Promise.race([answers.get(ref), delay(answerMs, undefined, { ref: false })]);
  } catch (error) {
    if (!isOpen(context, ref)) return;
    update(context, ref, { current_operations: {} });
    throw error;
  }
}

function collect(context: Context): void {
  const { db, kept, since, elapsed } = context;
  const time = elapsed();
  for (const [ref, { status }] of db.all('task')) {
    const pending = isPending(status);
    if (pending && kept.has(ref)) continue;
    if (time - (since.get(ref) ?? time) > (pending ? pendingLimit : finishedLimit)) remove(context, ref);
  }
}
