/** How a migration ends at its source: it has moved, it goes on here, or it is in doubt. */
import type { Backend } from '../backend/backend.js';
import { within } from '../base/deadline.js';
import { messageOf, XapiError } from '../base/errors.js';
import { sameDomain } from '../base/hypervisor-protocol.js';
import type { Log } from '../base/log.js';
import { sendError } from '../wire/handshake.js';
import type { SourceRow } from '../xenops/journal.js';
import type { Settlement } from './protocol.js';
import { type MigrationOutcome, type MigrationReport, toWireError } from './request.js';
import { type Agreed, type Peers, settleWithin } from './settle.js';
import {
  type Attempt,
  awaitPoint,
  closeChannels,
  elapsed,
  enter,
  migrationError,
  reach,
  rowOf,
  write,
} from './source-attempt.js';

/** How long a destination may take to hear that nothing more comes. */
const refuseTimeoutMs = 5_000;

/** Past the commit point nothing that fails here resumes the VM; only the destination's word that it has refused does. */
export async function conclude(attempt: Attempt, report: MigrationReport): Promise<MigrationOutcome> {
  const settlement = await awaitRunning(attempt);
  if (settlement === 'taken') return finish(attempt, report);
  if (settlement === 'unknown') return leaveInDoubt(attempt);
  attempt.failedSide = 'destination';
  return abandon(
    attempt,
    new XapiError('INTERNAL_ERROR', ['the destination has refused the VM after the commit point']),
  );
}

/** Point 4, or what the destination has settled on where that does not come. */
async function awaitRunning(attempt: Attempt): Promise<Settlement> {
  enter(attempt, 'run');
  try {
    await reach(attempt, 'run');
    await awaitPoint(attempt, '4', () => attempt.answer ?? Promise.reject(new Error('the control channel is gone')));
    return 'taken';
  } catch (error) {
    attempt.log.warn(`no point 4, settling: ${messageOf(error)}`);
    const { deps, settings, log } = attempt;
    return settleWithin(settings.stepTimeoutMs, deps.peers, agreedOf(rowOf(attempt)), log);
  }
}

/** The VM runs at the destination: report, and clean up the old copy. A clean-up that fails is done at the next start. */
async function finish(attempt: Attempt, known: MigrationReport): Promise<MigrationOutcome> {
  const { deps, log } = attempt;
  const row = rowOf(attempt);
  const times = elapsed(attempt);
  enter(attempt, 'clean-up');
  const report: MigrationReport = { ...known, ...times, ...(await digests(attempt)) };
  const outcome: MigrationOutcome = { status: 'success', report };
  closeChannels(attempt);
  try {
    await reach(attempt, '4');
    await write(attempt, { ...row, state: 'done', outcome });
    await reach(attempt, 'clean-up');
    await deps.backend.destroy(row.handle);
    const { xenopsUrl, migrationId, token } = agreedOf(row);
    await deps.peers.at(xenopsUrl).acknowledge(migrationId, token);
  } catch (error) {
    log.warn(`clean-up goes on at the next start: ${messageOf(error)}`);
  }
  log.info('migrated', { compressor: report.compressorUsed, seconds: report.seconds, downtime_ms: report.downtimeMs });
  return outcome;
}

async function digests(attempt: Attempt): Promise<Pick<MigrationReport, 'digests'>> {
  if (!attempt.settings.digest) return {};
  const { backend, peers } = attempt.deps;
  const row = rowOf(attempt);
  const { xenopsUrl, migrationId, token } = agreedOf(row);
  try {
    const [source, destination] = await Promise.all([
      backend.digest(row.handle),
      peers.at(xenopsUrl).digest(migrationId, token),
    ]);
    if (source !== destination) attempt.log.error('what arrived is not what was sent', { source, destination });
    return { digests: { source, destination } };
  } catch (error) {
    attempt.log.warn(`the digests could not be compared: ${messageOf(error)}`);
    return {};
  }
}

/** No outcome in time: the VM stays here, paused, marked, and refusing what could double it. */
async function leaveInDoubt(attempt: Attempt): Promise<MigrationOutcome> {
  const { handle, migrationId, uuid } = rowOf(attempt);
  const reason = `migration ${migrationId}: the destination has not said whether it runs the VM`;
  const { backend } = attempt.deps;
  await backend.markInDoubt(handle, reason).catch((error: unknown) => attempt.log.error('cannot mark', { err: error }));
  await backend.rename(handle, uuid).catch((error: unknown) => attempt.log.error('cannot rename', { err: error }));
  closeChannels(attempt);
  attempt.log.error(`the VM is in doubt: ${reason}`);
  return { status: 'in-doubt', error: toWireError(migrationError(attempt, new Error(reason))) };
}

/** The destination will not run it, so the VM goes on here: at once, as without point 3 the destination runs nothing. */
export async function abandon(attempt: Attempt, error: unknown): Promise<MigrationOutcome> {
  const { deps, log, row, hooks, request } = attempt;
  const stopped: unknown = hooks.signal.aborted && row?.state !== 'going' ? hooks.signal.reason : undefined;
  const cancelled = stopped instanceof XapiError && stopped.code === 'TASK_CANCELLED';
  const failure = cancelled
    ? new XapiError('TASK_CANCELLED', [request.task])
    : migrationError(attempt, stopped ?? error);
  log.warn(cancelled ? 'cancelled' : 'failed', { phase: attempt.phase, failed_side: attempt.failedSide, err: error });
  if (attempt.control !== undefined) await sendError(attempt.control, failure.message);
  closeChannels(attempt);
  const outcome: MigrationOutcome = { status: cancelled ? 'cancelled' : 'failure', error: toWireError(failure) };
  if (row === undefined) return outcome;
  try {
    await resume(deps.backend, row);
    await write(attempt, { ...row, state: 'failed', outcome });
  } catch (reason) {
    log.error('the VM could not be resumed', { err: reason });
  }
  if (row.agreed !== undefined && row.state !== 'going') await refuse(deps.peers, row.agreed, log);
  return outcome;
}

function agreedOf(row: SourceRow): Agreed {
  if (row.agreed === undefined) throw new XapiError('INTERNAL_ERROR', ['the destination has agreed to nothing']);
  return row.agreed;
}

/** Tell the destination that nothing more comes. It would find out by itself, later. */
async function refuse(peers: Peers, { xenopsUrl, migrationId, token }: Agreed, log: Log): Promise<void> {
  const peer = peers.at(xenopsUrl);
  const told = peer.settle(migrationId, token).then(() => peer.acknowledge(migrationId, token));
  await within(told, refuseTimeoutMs, 'no answer').catch((error: unknown) => {
    log.debug(`the destination will refuse by itself: ${messageOf(error)}`);
  });
}

/** Undo points 2 and the suspend, whichever came about: its name back, and running if it ran. Idempotent. */
export async function resume(backend: Backend, row: SourceRow): Promise<void> {
  const domain = (await backend.list()).find(({ handle }) => sameDomain(handle, row.handle));
  if (domain === undefined) return;
  if (domain.uuid !== row.uuid) await backend.rename(row.handle, row.uuid);
  if (domain.inDoubt !== undefined) await backend.markInDoubt(row.handle, undefined);
  if (row.wasRunning) await backend.unpause(row.handle, `resume ${row.migrationId}`);
}
