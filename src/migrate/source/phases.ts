/**
 * The source of a migration: one function a phase, in the order of the diagram in protocol.ts.
 *
 * Until `commit` every failure ends in `abandon`, after which the VM is as it was. From `commit` on the source acts only on
 * what the destination has decided: see outcome.ts.
 */
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { untilAborted, within } from '../../base/deadline.js';
import { defined } from '../../base/defined.js';
import type { DomainHandle } from '../../base/domain.js';
import { messageOf, XapiError } from '../../base/errors.js';
import { streamFailureOf } from '../../base/stream-error.js';
import { PeerError } from '../../wire/connection/handshake.js';
import { type RawSocket, socketInode } from '../../wire/connection/raw-socket.js';
import { type SaveResult, saveImage } from '../../xenops/image.js';
import type { SourceRow } from '../../xenops/journal.js';
import { compressionPlan } from '../compressor.js';
import { withAdvice } from '../convergence.js';
import type { ReceiveReply, VmMetadata } from '../metadata.js';
import { createPoints, sendPoint } from '../points.js';
import { oldCopyUuid } from '../protocol.js';
import type { CompressionReport, MigrateRequest, MigrationOutcome, MigrationReport } from '../request.js';
import { sendAtRest } from './at-rest.js';
import {
  agreedFrom,
  askInTurn,
  type Decision,
  elapsed,
  enter,
  explanationMs,
  ofDestination,
  reach,
  rowOf,
  type SourceAttempt,
  type SourceDeps,
  type SourceHooks,
  type SourceSettings,
  write,
} from './attempt.js';
import { type Channels, connect } from './connect.js';
import { decide } from './decision.js';
import { abandon, conclude } from './outcome.js';
import { letGo } from './recovery.js';

/** Migrate a VM away. @returns how the migration ended. Never throws: a failure is an outcome. */
export async function migrateAsSource(
  deps: SourceDeps,
  settings: SourceSettings,
  request: MigrateRequest,
  hooks: SourceHooks,
): Promise<MigrationOutcome> {
  const attempt: SourceAttempt = {
    deps,
    settings,
    hooks,
    request,
    log: deps.log.child({ migration: request.migrationId, task: request.task, vm: request.uuid, side: 'source' }),
    startedAt: performance.now(),
    phase: 'prepare',
    failedSide: 'source',
    sockets: [],
    helpers: [],
    closed: false,
    points: createPoints({
      timeoutMs: () => settings.stepTimeoutMs,
      log: () => attempt.log,
      during: (work) => ofDestination(attempt, work),
      early: (why) => new PeerError(why),
    }),
  };
  let report: MigrationReport;
  try {
    await begin(attempt);
    const reply = await prepare(attempt);
    const decision = await decide(attempt, reply);
    hooks.onDecided(compressionOf(decision));
    const channels = await connect(attempt, reply, decision);
    const saved = await copy(attempt, channels, decision);
    await awaitRestored(attempt, channels);
    report = reportOf(attempt, reply, decision, saved);
    await commit(attempt, channels.control, report);
  } catch (error) {
    return abandon(attempt, error);
  }
  return conclude(attempt, report);
}

/** Find the VM and journal the attempt. */
async function begin(attempt: SourceAttempt): Promise<void> {
  const { request } = attempt;
  const sent = await find(attempt);
  await forgetEarlier(attempt);
  await write(attempt, {
    side: 'source',
    migrationId: request.migrationId,
    task: request.task,
    uuid: request.uuid,
    state: 'preparing',
    ...sent,
    request,
  });
}

/** Find what the host has of the VM: a domain, a suspend image, or neither. @throws where that is not as the request says */
async function find({ deps, request }: SourceAttempt): Promise<Pick<SourceRow, 'handle' | 'image' | 'wasRunning'>> {
  const domain = (await deps.backend.list()).find(({ uuid }) => uuid === request.uuid);
  const { rest } = request.metadata;
  if (domain?.inDoubt !== undefined) throw new XapiError('OPERATION_NOT_ALLOWED', [`in doubt: ${domain.inDoubt}`]);
  if (rest === 'halted' && domain === undefined) return { wasRunning: false };
  if (rest === 'suspended' && domain === undefined) {
    return { image: deps.suspended.imageOf(request.uuid), wasRunning: false };
  }
  if (rest === undefined && (domain?.state === 'running' || domain?.state === 'paused')) {
    return { handle: domain.handle, wasRunning: domain.state === 'running' };
  }
  throw new XapiError('VM_BAD_POWER_STATE', [request.uuid, rest ?? 'running', domain?.state ?? 'halted']);
}

/**
 * Forget earlier migrations of the VM from here: they have ended, and the coordinator knows how, or it would not ask for this one.
 * Old copies of the VM go first. A row stays whose destination still has to be told.
 */
async function forgetEarlier({ deps, request }: SourceAttempt): Promise<void> {
  for (const row of deps.journal.rows()) {
    if (row.side !== 'source' || row.uuid !== request.uuid || row.migrationId === request.migrationId) continue;
    if ((row.state !== 'done' && row.state !== 'failed') || row.resumePending) {
      throw new XapiError('OPERATION_NOT_ALLOWED', [`migration ${row.migrationId} has not ended: ${row.state}`]);
    }
    if (row.state === 'done') await letGo(deps, row);
    if (row.acknowledged) await deps.journal.remove('source', row.migrationId);
  }
}

/** Describe what the VM's domain was made from, under its name of now: the record may have got devices since that its guest does not have. */
async function domainOf(attempt: SourceAttempt): Promise<VmMetadata['domain']> {
  const { deps, request } = attempt;
  const { domain } = request.metadata;
  const { handle } = rowOf(attempt);
  if (handle === undefined) return domain;
  const { settings } = await deps.backend.specOf(handle);
  return { ...domain, ...defined({ settings }) };
}

/** Call VM.receive at the destination. */
async function prepare(attempt: SourceAttempt): Promise<ReceiveReply> {
  const { deps, request, settings } = attempt;
  const row = rowOf(attempt);
  enter(attempt, 'prepare');
  const metadata: VmMetadata = {
    ...request.metadata,
    domain: await domainOf(attempt),
    paused: !row.wasRunning,
    ...(settings.digest ? { digest: true } : {}),
    ...(row.image === undefined ? {} : { image: await deps.suspended.sizes(request.uuid) }),
    sourceUrl: deps.xenopsUrl(),
  };
  await reach(attempt, 'prepare');
  const located = await locate(attempt);
  attempt.located = located;
  const reply = await askInTurn(attempt, () => {
    attempt.asked = deps.peers.receive(located, metadata);
    return attempt.asked;
  });
  await write(attempt, { ...row, agreed: agreedFrom(located, reply) });
  return reply;
}

/**
 * Look up the route that a caller has named, once: the host that is asked there gets the channels too, whatever becomes of the name.
 * @returns the request with the address
 */
async function locate(attempt: SourceAttempt): Promise<MigrateRequest> {
  const { deps, request } = attempt;
  const { xenops } = request.destination;
  if (xenops === undefined) return request;
  const route = await ofDestination(attempt, () => deps.peers.locate(xenops));
  return { ...request, destination: { ...request.destination, xenops: route } };
}

/** Copy, up to point 2: the image is out, its streams are closed, the old copy is renamed. */
async function copy(attempt: SourceAttempt, channels: Channels, decision: Decision): Promise<SaveResult> {
  const { request, hooks } = attempt;
  await write(attempt, { ...rowOf(attempt), state: 'copying' });
  enter(attempt, 'copy');
  const stop = new AbortController();
  // A point 4 that came before point 3 would have the old copy destroyed of a VM that runs nowhere.
  attempt.points
    .listen(channels.restoredAck ? '2-restored' : '4', channels.control)
    .catch((error: unknown) => stop.abort(error));
  const signal = AbortSignal.any([hooks.signal, stop.signal]);
  const sending = request.metadata.rest === undefined ? saveDomain : sendAtRest;
  const saved = await sending(attempt, channels, decision, signal).catch((error: unknown) => explain(attempt, error));
  if (request.metadata.rest !== undefined) await reachTwo(attempt);
  return saved;
}

/** Send point 2: everything is out, though the destination may not have all of it. */
async function reachTwo(attempt: SourceAttempt): Promise<void> {
  const { handle } = rowOf(attempt);
  await reach(attempt, '2');
  if (handle !== undefined) await attempt.deps.backend.rename(handle, oldCopyUuid(attempt.request.uuid));
  attempt.log.info('synchronisation point 2: sent');
}

/** Save the image of a domain that runs, or is paused. */
async function saveDomain(
  attempt: SourceAttempt,
  { memory, vgpu, restoredAck }: Channels,
  decision: Decision,
  signal: AbortSignal,
): Promise<SaveResult> {
  const { deps, request, settings, hooks } = attempt;
  const { handle, wasRunning } = rowOf(attempt);
  if (handle === undefined || memory === undefined)
    throw new XapiError('INTERNAL_ERROR', ['there is no domain to send']);
  const plan = compressionPlan(decision);
  const pace = decision.converges ? { convergence: settings.convergence, link: socketInode(memory.fd) } : {};
  return saveImage({
    helper: deps.helper,
    limits: settings.limits,
    handle,
    live: wasRunning,
    vmStr: JSON.stringify(request.metadata.domain),
    channels: { memory, vgpu },
    ...defined({ zstd: plan.zstdPipe ? deps.zstd : undefined, compression: plan.compression, ...pace }),
    endTimeoutMs: settings.stepTimeoutMs,
    signal,
    log: attempt.log,
    onProgress: (percent) => hooks.onProgress('copy', percent / 100),
    onFigures: hooks.onFigures,
    onHelper: (helper) => attempt.helpers.push(helper),
    onBegin: () => reach(attempt, 'copy', signal),
    onSuspend: () => suspend(attempt, handle, signal),
    onEnd: () => {
      if (restoredAck) attempt.points.allow();
    },
    onOut: () => reachTwo(attempt),
    ...defined({ received: restoredAck ? attempt.points.heard() : undefined }),
  });
}

/**
 * Find the cause of a failed copy. A destination that fails breaks the stream first and says why a moment later: then the
 * destination's word is the cause. Where the source has failed, what the destination says of the ended stream is no cause.
 */
async function explain(attempt: SourceAttempt, error: unknown): Promise<never> {
  if (error instanceof PeerError) attempt.failedSide = 'destination';
  const failure = attempt.hooks.signal.aborted ? undefined : streamFailureOf(error);
  if (failure === 'no-convergence') throw withAdvice(error as XapiError);
  if (failure === undefined) throw error;
  await Promise.race([attempt.points.heard(), delay(explanationMs)]).catch((said: unknown) => {
    if (!(said instanceof PeerError)) throw error;
    attempt.failedSide = 'destination';
    throw said;
  });
  throw error;
}

async function suspend(attempt: SourceAttempt, handle: DomainHandle, signal: AbortSignal): Promise<void> {
  const { deps, settings } = attempt;
  const row = rowOf(attempt);
  assertOpen(attempt);
  await write(attempt, { ...row, state: 'suspended' });
  await reach(attempt, 'suspend', signal);
  assertOpen(attempt);
  attempt.pausedAt = performance.now();
  const pausing = within(
    deps.backend.pause(handle, settings.suspendTimeoutMs),
    settings.suspendTimeoutMs,
    'the guest did not stop',
  );
  await untilAborted(pausing, signal);
  if (settings.digest) await deps.backend.armDigest(handle);
  await reach(attempt, 'last round', signal);
}

/** Assert that the attempt was not given up: the guest goes on then, and is not paused. */
function assertOpen({ closed }: SourceAttempt): void {
  if (closed) throw new XapiError('INTERNAL_ERROR', ['the migration has ended']);
}

/**
 * Wait for point 2-restored, where both sides have that point: the destination has the whole image and is ready to run the VM.
 */
async function awaitRestored(attempt: SourceAttempt, channels: Channels): Promise<void> {
  if (!channels.restoredAck) return;
  enter(attempt, 'restore');
  await attempt.points.wait('2-restored');
  attempt.points.listen('4', channels.control);
}

/** Make the report of what is known before the commit point, which the journal keeps for after a restart. */
function reportOf(attempt: SourceAttempt, reply: ReceiveReply, decision: Decision, saved: SaveResult): MigrationReport {
  return {
    ...compressionOf(decision),
    ...saved,
    cookies: decision.cookies,
    ...elapsed(attempt),
    ...defined({ convergence: decision.converges ? attempt.settings.convergence.strategy : undefined, vm: reply.vm }),
  };
}

function compressionOf({ asked, used, fallback }: Decision): CompressionReport {
  return { compressorAsked: asked, compressorUsed: used, ...defined({ fallback }) };
}

/** Pass the commit point, which is durable before point 3 is sent. A cancel is no longer heard from before it is durable. */
async function commit(attempt: SourceAttempt, control: RawSocket, report: MigrationReport): Promise<void> {
  await reach(attempt, 'going');
  // No point 3 goes to a destination that has failed, or was early: what has come by now is read within two turns of the event loop.
  await ofDestination(attempt, () => Promise.race([attempt.points.heard(), setImmediate().then(() => setImmediate())]));
  attempt.hooks.signal.throwIfAborted();
  attempt.hooks.onCommit();
  enter(attempt, 'commit');
  await write(attempt, { ...rowOf(attempt), state: 'going', report });
  await reach(attempt, '3')
    .then(() => {
      attempt.points.allow();
      return sendPoint(attempt.log, '3', control);
    })
    .catch((error: unknown) => attempt.log.warn(`point 3 may not have arrived: ${messageOf(error)}`));
}
