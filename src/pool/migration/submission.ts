/**
 * Having a source begin a migration, and having it stop. A source that does not answer may have heard all the same, so it is asked
 * until it answers: the same request again is the same migration.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Ref } from '../../../idl/index.js';
import { messageOf, toXapiError, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { CallTask } from '../../model/handlers.js';
import type { Departure, MigrationTable } from '../database/migration-table.js';
import type { PlacementDeps } from '../hosts/placement.js';

export interface SubmissionDeps extends PlacementDeps {
  readonly table: MigrationTable;
  readonly log: Log;
  /** Aborted when the pool closes. */
  readonly closed: AbortSignal;
}

/** A source that was asked, and whose migration is cancelled, has so long to answer before the task ends without it. */
const lastAnswerMs = 3_000;
const firstPauseMs = 250;
const longestPauseMs = 10_000;

/**
 * Ask the source of a migration to begin it, until the source answers; nothing where the source has accepted it already.
 * @throws the host's refusal; the reason of the task's signal where the task was cancelled and the source has not answered; where the
 *   pool closes, the reason of that
 */
export async function submit(deps: SubmissionDeps, row: Departure, task: CallTask): Promise<void> {
  if (row.accepted) return;
  for (let failures = 0; isKnown(deps, row); failures += 1) {
    try {
      await answerOf(row.source, deps.members.service(row.source).migrate(row.request), task.signal);
      return await noteAccepted(deps, row);
    } catch (error) {
      await assertUnanswered(deps, row, task, error, failures);
      deps.log.warn(`migration ${row.id} has not reached its source yet: ${messageOf(error)}`);
      await pauseBeforeAsking(deps, task, failures);
    }
  }
}

/** Whether the migration has a row still: an operator may have given it up. */
function isKnown({ table }: SubmissionDeps, { id }: Departure): boolean {
  return table.departure(id) !== undefined;
}

/** Write that the source has the migration; where this is not written, the next run of the daemon asks again. */
async function noteAccepted(deps: SubmissionDeps, row: Departure): Promise<void> {
  if (!isKnown(deps, row)) return;
  await deps.table.putDeparture({ ...row, accepted: true }).catch((error: unknown) => {
    deps.log.error(`migration ${row.id} has begun, which is not written yet`, { error });
  });
}

/**
 * Check that a source has not answered, so that it is asked again: one that answers has refused, of one that does not nothing is known.
 * A cancelled migration whose source does not answer is written down as in doubt.
 * @param error what asking came to
 * @param failures how often asking has failed before
 * @throws `error` where it is a refusal; the reason of the task's signal where that is aborted and the source does not answer
 */
async function assertUnanswered(
  deps: SubmissionDeps,
  row: Departure,
  task: CallTask,
  error: unknown,
  failures: number,
): Promise<void> {
  const { code } = toXapiError(error);
  const reachable = code !== 'HOST_OFFLINE' && (await answers(deps, row.source));
  const silence = code === 'INTERNAL_ERROR' || code === 'HOST_OFFLINE';
  if (!silence || (reachable && failures > 0 && !task.signal.aborted)) throw error;
  if (!task.signal.aborted || reachable) return;
  await deps.table.putDeparture({ ...row, inDoubt: true, cancelled: true });
  throw task.signal.reason;
}

function answers({ members }: SubmissionDeps, host: Ref<'host'>): Promise<boolean> {
  return members.state(host).then(
    () => true,
    () => false,
  );
}

/** Wait longer after each failure; not long any more where the task is cancelled. @throws the reason of the pool's end where it closes */
async function pauseBeforeAsking({ closed }: SubmissionDeps, task: CallTask, failures: number): Promise<void> {
  const stop = AbortSignal.any([closed, task.signal]);
  await delay(pauseMs(failures), undefined, { signal: stop }).catch(() => undefined);
  closed.throwIfAborted();
  if (task.signal.aborted) await delay(firstPauseMs, undefined, { signal: closed });
}

function pauseMs(failures: number): number {
  return Math.min(firstPauseMs * 2 ** failures, longestPauseMs);
}

/**
 * What a source answers.
 * @throws what the source throws; HOST_OFFLINE where the task is cancelled and the source goes on saying nothing
 */
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

/** Have whoever cancels the task from now on cancel the migration at its source; at once where the task is cancelled already. */
export function cancelWithTask(deps: SubmissionDeps, row: Departure, task: CallTask): void {
  const begin = (): void => task.answerCancel(cancel(deps, row, task));
  if (task.signal.aborted) begin();
  else task.signal.addEventListener('abort', begin, { once: true });
}

/** @throws OPERATION_NOT_ALLOWED where the migration has passed its commit point */
async function cancel(deps: SubmissionDeps, row: Departure, task: CallTask): Promise<void> {
  for (let failures = 0; isKnown(deps, row); failures += 1) {
    try {
      return await deps.members.service(row.source).cancel(row.id);
    } catch (error) {
      deps.log.info(`migration ${row.id} goes on: ${messageOf(error)}`);
      if (toXapiError(error).code === 'OPERATION_NOT_ALLOWED') {
        task.setCancellable(false);
        throw error;
      }
      await delay(pauseMs(failures), undefined, { signal: deps.closed });
    }
  }
}
