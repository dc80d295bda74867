/**
 * How a migration ends at its source: the VM has moved, goes on here, or is in doubt. What is left to do then is in
 * recovery.ts.
 */
import { untilAborted, within } from '../../base/deadline.js';
import { messageOf, XapiError } from '../../base/errors.js';
import { sendError } from '../../wire/connection/handshake.js';
import { askDestination, settleWithin } from '../peers.js';
import type { Settlement } from '../protocol.js';
import { type MigrationOutcome, type MigrationReport, toWireError } from '../request.js';
import {
  agreedFrom,
  agreedOf,
  closeChannels,
  elapsed,
  enter,
  migrationError,
  reach,
  rowOf,
  type SourceAttempt,
  write,
} from './attempt.js';
import { doubtOf, letGo, markInDoubt, resume } from './recovery.js';

/**
 * How long to wait until a destination has heard of a failure and has cleaned up, in milliseconds; a slower one does so by
 * itself.
 */
const sayWhyMs = 500;
const refuseMs = 3_000;

/**
 * End a migration past its commit point. No failure here resumes the VM; only the destination's word that it has refused does.
 */
export async function conclude(attempt: SourceAttempt, report: MigrationReport): Promise<MigrationOutcome> {
  const settlement = await awaitRunning(attempt);
  if (settlement === 'taken') return finish(attempt, report);
  if (settlement === 'unknown') return leaveInDoubt(attempt);
  attempt.failedSide = 'destination';
  return abandon(
    attempt,
    new XapiError('INTERNAL_ERROR', ['the destination has refused the VM after the commit point']),
  );
}

/** Wait for point 4, and settle where that point does not come. */
async function awaitRunning(attempt: SourceAttempt): Promise<Settlement> {
  const { deps, settings, log, hooks } = attempt;
  enter(attempt, 'run');
  try {
    await untilAborted(reach(attempt, 'run'), hooks.closing);
    await untilAborted(attempt.points.wait('4'), hooks.closing);
    return 'taken';
  } catch (error) {
    if (hooks.closing.aborted) return 'unknown';
    log.warn(`no point 4, settling: ${messageOf(error)}`);
    return settleWithin(settings.stepTimeoutMs, deps.peers, agreedOf(rowOf(attempt)), log, hooks.closing);
  }
}

/** End a migration whose VM runs at the destination: report, and clean up the old copy. */
async function finish(attempt: SourceAttempt, known: MigrationReport): Promise<MigrationOutcome> {
  const { deps, log } = attempt;
  const times = elapsed(attempt);
  enter(attempt, 'clean-up');
  const report: MigrationReport = { ...known, ...times, ...(await digests(attempt)) };
  const outcome: MigrationOutcome = { status: 'success', report };
  closeChannels(attempt);
  try {
    await reach(attempt, '4');
    await write(attempt, { ...rowOf(attempt), state: 'done', outcome });
    await reach(attempt, 'clean-up');
    await letGo(deps, rowOf(attempt));
    const agreed = agreedOf(rowOf(attempt));
    await askDestination(deps.peers, agreed, (peer) => peer.acknowledge(agreed.migrationId, agreed.token));
    await write(attempt, { ...rowOf(attempt), acknowledged: true });
  } catch (error) {
    log.warn(`clean-up goes on later: ${messageOf(error)}`);
  }
  log.info('migrated', { compressor: report.compressorUsed, seconds: report.seconds, downtime_ms: report.downtimeMs });
  return outcome;
}

async function digests(attempt: SourceAttempt): Promise<Pick<MigrationReport, 'digests'>> {
  const { backend, peers } = attempt.deps;
  const row = rowOf(attempt);
  const { handle } = row;
  if (!attempt.settings.digest || handle === undefined) return {};
  const agreed = agreedOf(row);
  try {
    const theirs = askDestination(peers, agreed, (peer) => peer.digest(agreed.migrationId, agreed.token));
    const both = Promise.all([backend.digest(handle), theirs]);
    const [source, destination] = await untilAborted(both, attempt.hooks.closing);
    if (source !== destination) attempt.log.error('what arrived is not what was sent', { source, destination });
    return { digests: { source, destination } };
  } catch (error) {
    attempt.log.warn(`the digests could not be compared: ${messageOf(error)}`);
    return {};
  }
}

/** Leave a migration without an outcome in doubt: the VM stays here, paused and marked, and runs only once it is settled. */
async function leaveInDoubt(attempt: SourceAttempt): Promise<MigrationOutcome> {
  const row = rowOf(attempt);
  closeChannels(attempt);
  await markInDoubt(attempt.deps, row);
  const reason = doubtOf(row);
  attempt.log.error(`the VM is in doubt: ${reason}`);
  return { status: 'in-doubt', error: toWireError(migrationError(attempt, new Error(reason))) };
}

/** Give a migration up: the VM goes on here, at once, as the destination runs nothing without point 3. */
export async function abandon(attempt: SourceAttempt, error: unknown): Promise<MigrationOutcome> {
  const { deps, log, row, hooks, request } = attempt;
  const stopped: unknown = hooks.signal.aborted && row?.state !== 'going' ? hooks.signal.reason : undefined;
  const cancelled = stopped instanceof XapiError && stopped.code === 'TASK_CANCELLED';
  const failure = cancelled
    ? new XapiError('TASK_CANCELLED', [request.task])
    : migrationError(attempt, stopped ?? error);
  log.warn(cancelled ? 'cancelled' : 'failed', { phase: attempt.phase, failed_side: attempt.failedSide, error });
  if (attempt.control !== undefined) {
    await within(sendError(attempt.control, failure.message), sayWhyMs, 'not heard').catch(() => undefined);
  }
  closeChannels(attempt);
  const outcome: MigrationOutcome = { status: cancelled ? 'cancelled' : 'failure', error: toWireError(failure) };
  if (row === undefined) return outcome;
  if (row.state === 'going') {
    // The row comes before the VM runs here: from then on a destination that asks hears `no`, and may forget the attempt.
    try {
      await write(attempt, { ...row, state: 'failed', resumePending: true, outcome });
    } catch (reason) {
      log.error('the end is not journaled yet', { error: reason });
      return outcome;
    }
  }
  const [resumed, told] = await Promise.allSettled([resume(deps.backend, row), tellRefusal(attempt)]);
  const end = { outcome, ...(told.status === 'fulfilled' ? { acknowledged: true as const } : {}) };
  if (resumed.status === 'rejected') log.error('the VM could not be resumed yet', { error: resumed.reason });
  await write(
    attempt,
    resumed.status === 'fulfilled'
      ? { ...rowOf(attempt), state: 'failed', ...end, resumePending: undefined }
      : { ...rowOf(attempt), outcome },
  ).catch((reason: unknown) => log.error('the end is not journaled yet', { error: reason }));
  return outcome;
}

/**
 * Tell the destination that nothing more comes, and that the attempt may be forgotten.
 * @throws where the destination has not heard
 */
async function tellRefusal(attempt: SourceAttempt): Promise<void> {
  const { asked, deps } = attempt;
  const telling = async () => {
    if (rowOf(attempt).agreed === undefined) {
      // A cancel does not wait for the reply of VM.receive, which may still come. Without a reply nothing was agreed.
      const reply = await asked?.catch(() => undefined);
      if (reply === undefined) return;
      // By now the row may have gone on without this attempt.
      const agreed = agreedFrom(attempt.located ?? attempt.request, reply);
      const now = deps.journal.get('source', attempt.request.migrationId);
      attempt.row = { ...rowOf(attempt), agreed };
      if (now !== undefined) await deps.journal.put({ ...now, agreed, acknowledged: undefined });
    }
    const agreed = agreedOf(rowOf(attempt));
    const { migrationId, token } = agreed;
    await askDestination(deps.peers, agreed, (peer) => peer.settle(migrationId, token));
    await askDestination(deps.peers, agreed, (peer) => peer.acknowledge(migrationId, token));
  };
  await within(telling(), refuseMs, 'no answer').catch((error: unknown) => {
    attempt.log.debug(`the destination is told later: ${messageOf(error)}`);
    throw error;
  });
}
