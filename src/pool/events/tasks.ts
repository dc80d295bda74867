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
  /** Keep a pending task, however long it pends. @returns ends that */
  keep(ref: TaskRef): () => void;
  /** Remove tasks that ended 65 minutes ago, and those that pend for 24 hours and that nobody keeps. */
  collect(): void;
}

const finishedLimit = 65 * 60 * 1000;
const pendingLimit = 24 * 60 * 60 * 1000;
/** What a task cannot say in this time of the request to stop is shown by its end. */
const answerMs = 2_000;

export function createTasks({ db, thisHost, now, elapsed }: TaskDeps): TaskService {
  const cancellers = new Map<TaskRef, AbortController>();
  const answers = new Map<TaskRef, Promise<void>>();
  const driven = new Set<TaskRef>();
  const doomed = new Set<TaskRef>();
  const kept = new Set<TaskRef>();
  /** Since when a task pends, or has ended, as `elapsed` tells. */
  const since = new Map<TaskRef, number>();

  const make = (given: Partial<Task>, known?: TaskRef): TaskRef => {
    const begun = { created: now(), status: 'pending', type: '<none/>', resident_on: thisHost() } as const;
    const ref = db.create('task', { ...begun, ...given }, known);
    since.set(ref, elapsed());
    return ref;
  };
  /** The row may have been collected while the call still runs. */
  const update = (ref: TaskRef, patch: Partial<Task>): void => {
    if (db.find('task', ref) !== undefined) db.update('task', ref, patch);
  };
  const remove = (ref: TaskRef): void => {
    doomed.delete(ref);
    driven.delete(ref);
    cancellers.delete(ref);
    answers.delete(ref);
    since.delete(ref);
    if (db.find('task', ref) !== undefined) db.destroy('task', ref);
  };
  const ended = (ref: TaskRef): void => {
    cancellers.delete(ref);
    answers.delete(ref);
    if (since.has(ref)) since.set(ref, elapsed());
    if (doomed.has(ref)) remove(ref);
  };
  const isOpen = (ref: TaskRef): boolean => ['pending', 'cancelling'].includes(db.find('task', ref)?.status ?? '');
  const steps = (ref: TaskRef, ...patches: Partial<Task>[]): void => {
    update(ref, { current_operations: {} });
    for (const patch of patches) update(ref, patch);
    ended(ref);
  };
  const open = (ref: TaskRef): OpenTask => {
    const canceller = new AbortController();
    cancellers.set(ref, canceller);
    return {
      ref,
      signal: canceller.signal,
      setProgress: (progress) => update(ref, { progress: Math.min(Math.max(progress, 0), 1) }),
      putOtherConfig(entries) {
        const before = db.find('task', ref)?.other_config;
        if (before === undefined || Object.entries(entries).every(([key, value]) => before[key] === value)) return;
        db.update('task', ref, { other_config: { ...before, ...entries } });
      },
      setCancellable: (cancellable) => update(ref, { allowed_operations: cancellable ? ['cancel'] : [] }),
      answerCancel(answer) {
        answer.catch(() => undefined);
        answers.set(ref, answer);
      },
      succeed: (result) =>
        steps(ref, { allowed_operations: [] }, { finished: now() }, { progress: 1 }, { result }, { status: 'success' }),
      fail(error) {
        if (error.code === 'TASK_CANCELLED') {
          steps(ref, { progress: 1 }, { finished: now() }, { status: 'cancelled' }, { allowed_operations: [] });
          return;
        }
        const error_info = [error.code, ...error.params];
        steps(
          ref,
          { progress: 1 },
          { error_info },
          { backtrace: '()' },
          { finished: now() },
          { allowed_operations: [] },
          { status: 'failure' },
        );
      },
      destroy: () => remove(ref),
    };
  };

  return {
    create: (label) => open(make({ name_label: label })),
    end(ref, error) {
      const task = ref as TaskRef;
      if (!driven.has(task) || db.find('task', task)?.status !== 'pending') return;
      const failure = error === undefined ? {} : { error_info: [error.code, ...error.params] };
      const status = error === undefined ? 'success' : 'failure';
      db.update('task', task, { progress: 1, finished: now(), ...failure, status });
      ended(task);
    },
    reopen: (ref, label) => open(make({ name_label: label }, ref)),
    createForCaller(label, description) {
      const ref = make({ name_label: label, name_description: description });
      driven.add(ref);
      return ref;
    },
    drive(ref, patch) {
      db.get('task', ref);
      if (!driven.has(ref)) {
        throw new XapiError('OPERATION_NOT_ALLOWED', [
          `${ref} shows a call of the server's; only a task that task.create made can be set`,
        ]);
      }
      const end = patch.status !== undefined && !['pending', 'cancelling'].includes(patch.status);
      db.update('task', ref, end ? { finished: now(), ...patch } : patch);
      if (end) ended(ref);
    },
    destroy(ref) {
      db.get('task', ref);
      if (isOpen(ref)) doomed.add(ref);
      else remove(ref);
    },
    async cancel(ref) {
      const row = db.get('task', ref);
      if (!isOpen(ref)) return;
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
        if (!isOpen(ref)) return;
        update(ref, { current_operations: {} });
        throw error;
      }
    },
    keep(ref) {
      kept.add(ref);
      return () => void kept.delete(ref);
    },
    collect() {
      const time = elapsed();
      for (const [ref, row] of db.all('task')) {
        const pending = row.status === 'pending' || row.status === 'cancelling';
        if (pending && kept.has(ref)) continue;
        if (time - (since.get(ref) ?? time) > (pending ? pendingLimit : finishedLimit)) remove(ref);
      }
    },
  };
}
