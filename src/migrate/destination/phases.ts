/**
 * One attempt to take a VM: one function a phase, in the order of the diagram in protocol.ts. Until point 3 is taken every
 * failure ends in `refuse`, which leaves nothing behind; once unpause is issued nothing is destroyed and no Error is sent.
 */
import type { Backend } from '../../backend/backend.js';
import { type DomainHandle, sameDomain } from '../../base/domain.js';
import { messageOf, sayingOf, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { PeerError, sendError } from '../../wire/connection/handshake.js';
import type { RawSocket } from '../../wire/connection/raw-socket.js';
import { type ImageChannels, restoreImage } from '../../xenops/image.js';
import type { DestinationRow } from '../../xenops/journal.js';
import { encodeDoubt } from '../in-doubt.js';
import type { VmMetadata } from '../metadata.js';
import { shorten } from '../peer-text.js';
import { createPoints, sendPoint } from '../points.js';
import { type DestinationState, hasTaken, type Settlement } from '../protocol.js';
import { type AttemptDeps, accept, type DestinationAttempt, listen, reach, step, stopOf, write } from './attempt.js';
import { refuseRow } from './refusal.js';
import type { ArrivedChannel } from './rendezvous.js';

export interface OpenAttempt {
  /** Decide for good: refuse unless point 3 was taken. */
  settle(reason: string): Promise<Settlement>;
  /** Resolves when the attempt has taken the VM and runs it, or has refused and left nothing behind. Never rejects. */
  readonly ended: Promise<'taken' | 'refused'>;
}

/**
 * Start the attempt that `row` describes; its memory is reserved.
 * @param isAwaited whether another migration has waited too long for its turn to arrive
 */
export function openAttempt(
  deps: AttemptDeps,
  row: DestinationRow<DestinationState>,
  metadata: VmMetadata,
  isAwaited: () => boolean,
): OpenAttempt {
  const running: DestinationAttempt = {
    deps,
    metadata,
    place: { isAwaited, memoryBytes: metadata.domain.memoryBytes },
    meeting: deps.rendezvous.expect({ ...row, ...metadata.domain }),
    log: deps.log.child({ migration: row.migrationId, vm: row.uuid, side: 'destination' }),
    refusal: new AbortController(),
    helpers: [],
    failure: new AbortController(),
    row,
    points: createPoints({
      timeoutMs: () => deps.timeouts().stepMs,
      log: () => running.log,
      during: (work) => step(running, work()),
      early: (why) => new XapiError('INTERNAL_ERROR', [why]),
    }),
  };
  const decided = decide(running);
  const ended = decided
    .then(async (settlement) => {
      if (settlement === 'taken') await (metadata.rest === undefined ? runDomain : keep)(running);
      return settlement;
    })
    .finally(() => running.meeting.end());
  return {
    ended,
    settle(reason) {
      if (!hasTaken(running.row.state)) running.refusal.abort(new XapiError('INTERNAL_ERROR', [reason]));
      return decided;
    },
  };
}

/** Do every phase up to the decision, which is durable when this resolves. */
async function decide(attempt: DestinationAttempt): Promise<'taken' | 'refused'> {
  try {
    const control = await acceptControl(attempt);
    const restoredAck = control.cookies.restored_ack === '1';
    if (attempt.metadata.rest === 'halted') await takeRecord(attempt, restoredAck);
    else await takeCopy(attempt, restoredAck);
    if (restoredAck) {
      await reach(attempt, '2-restored');
      attempt.points.allow();
      await attempt.points.send('2-restored', control.socket);
    }
    await awaitGo(attempt);
    return 'taken';
  } catch (error) {
    await refuse(attempt, error);
    return 'refused';
  }
}

/** Take a halted VM, of which there is nothing but the record that VM.receive had. */
async function takeRecord(attempt: DestinationAttempt, restoredAck: boolean): Promise<void> {
  listenForGo(attempt, restoredAck);
  await write(attempt, { ...attempt.row, state: 'created' });
  await reach(attempt, '1');
  await attempt.points.send('1', attempt.control as RawSocket);
  await reach(attempt, '2');
  await write(attempt, { ...attempt.row, state: 'restored' });
}

async function takeCopy(attempt: DestinationAttempt, restoredAck: boolean): Promise<void> {
  const vgpu = await acceptVgpus(attempt);
  listen(attempt, '1-mem ACK');
  const handle = await createDomain(attempt, attempt.control as RawSocket);
  const memory = await acceptMemory(attempt);
  listenForGo(attempt, restoredAck);
  await (handle === undefined ? receiveFiles(attempt, memory, vgpu) : receiveImage(attempt, handle, memory, vgpu));
  await reach(attempt, '2');
  await write(attempt, { ...attempt.row, state: 'restored' });
  attempt.log.info('synchronisation point 2: received');
}

/** Receive the image of a suspended VM, which stays suspended. */
async function receiveFiles(
  attempt: DestinationAttempt,
  memory: ArrivedChannel,
  vgpu: ReadonlyMap<string, RawSocket>,
): Promise<void> {
  const { deps, metadata, row } = attempt;
  await reach(attempt, 'copy');
  await deps.suspended.receive(metadata.domain, row.migrationId, metadata.image ?? {}, {
    channels: { memory: memory.socket, vgpu },
    ...(memory.cookies.compress === 'zstd' ? { zstd: deps.zstd() } : {}),
    isAwaited: attempt.place.isAwaited,
    signal: stopOf(attempt),
    onHelper: (helper) => attempt.helpers.push(helper),
  });
}

/** Listen for point 3. A source that waits for 2-restored cannot send 3 before; any other sends 3 as soon as the image is out. */
function listenForGo(attempt: DestinationAttempt, restoredAck: boolean): void {
  listen(attempt, '3');
  if (!restoredAck) attempt.points.allow();
}

async function acceptControl(attempt: DestinationAttempt): Promise<ArrivedChannel> {
  const channel = await accept(attempt, 'vm');
  attempt.control = channel.socket;
  const task = channel.cookies.dbg;
  if (task !== undefined) attempt.log = attempt.log.child({ task: task.slice(0, 100) });
  return channel;
}

async function acceptVgpus(attempt: DestinationAttempt): Promise<ReadonlyMap<string, RawSocket>> {
  const channels = new Map<string, RawSocket>();
  for (const device of attempt.metadata.domain.vgpus) {
    listen(attempt, '1-vgpu ACK');
    const { socket } = await accept(attempt, 'vgpu', device);
    channels.set(device, socket);
    await reach(attempt, '1-vgpu');
    attempt.points.allow();
    await attempt.points.send('1-vgpu', socket);
    await attempt.points.wait('1-vgpu ACK');
  }
  return channels;
}

/**
 * Create the domain under the temporary uuid, for a VM that runs. The handle is journaled before the source hears of the
 * domain.
 */
async function createDomain(attempt: DestinationAttempt, control: RawSocket): Promise<DomainHandle | undefined> {
  const { deps, metadata, row } = attempt;
  const spec = { ...metadata.domain, uuid: row.temporaryUuid };
  const handle = metadata.rest === undefined ? await deps.backend.create(spec, row.migrationId) : undefined;
  await write(attempt, { ...row, state: 'created', ...(handle === undefined ? {} : { handle }) });
  await reach(attempt, '1');
  await attempt.points.send('1', control);
  return handle;
}

async function acceptMemory(attempt: DestinationAttempt): Promise<ArrivedChannel> {
  const channel = await accept(attempt, 'mem');
  await reach(attempt, '1-mem');
  attempt.points.allow();
  await attempt.points.send('1-mem', channel.socket);
  await attempt.points.wait('1-mem ACK');
  return channel;
}

/** Receive the whole image. The cookie and the stream decide on compression, whatever this host is configured to. */
async function receiveImage(
  attempt: DestinationAttempt,
  handle: DomainHandle,
  memory: ArrivedChannel,
  vgpu: ReadonlyMap<string, RawSocket>,
): Promise<void> {
  const { deps, log } = attempt;
  const channels: ImageChannels = { memory: memory.socket, vgpu };
  await restoreImage({
    helper: deps.backend.saveHelper(),
    limits: deps.limits(),
    place: attempt.place,
    handle,
    channels,
    ...(memory.cookies.compress === 'zstd' ? { zstd: deps.zstd() } : {}),
    endTimeoutMs: deps.timeouts().stepMs,
    signal: stopOf(attempt),
    log,
    onHelper: (helper) => attempt.helpers.push(helper),
    onBegin: () => reach(attempt, 'copy'),
    onProgress: () => undefined,
  });
}

/** Wait for point 3. Whether that point or a refusal came first is decided here, in one turn of the event loop. */
async function awaitGo(attempt: DestinationAttempt): Promise<void> {
  await attempt.points.wait('3');
  await reach(attempt, '3');
  await step(attempt, assertCanRun(attempt));
  attempt.refusal.signal.throwIfAborted();
  await write(attempt, { ...attempt.row, state: 'taken' });
  attempt.log.info('taken');
}

/** Assert that the VM could run here now: once the VM is taken no other host may run it, so this is the last moment to refuse. */
async function assertCanRun({ deps, row, metadata }: DestinationAttempt): Promise<void> {
  const own = row.handle === undefined ? undefined : await deps.backend.look(row.handle);
  if (metadata.rest === undefined && own?.state !== 'paused') {
    throw new XapiError('INTERNAL_ERROR', [`the VM's domain is ${own?.state ?? 'gone'} at the destination`]);
  }
  const other = (await deps.backend.list()).find(({ uuid }) => uuid === row.uuid);
  if (other !== undefined) throw new XapiError('DOMAIN_EXISTS', [row.uuid, String(other.handle.domid)]);
}

/** Run the VM here. From here on nothing is undone. Never rejects. */
async function runDomain(attempt: DestinationAttempt): Promise<void> {
  const { deps, metadata, row, log } = attempt;
  const handle = row.handle as DomainHandle;
  try {
    await reach(attempt, 'taken');
    await deps.backend.rename(handle, row.uuid);
    if (metadata.digest === true) await deps.backend.armDigest(handle).catch(warn(log, 'no digest'));
    await write(attempt, { ...row, state: 'unpausing' });
    await reach(attempt, 'unpausing');
    if (metadata.paused !== true) await deps.backend.unpause(handle, row.migrationId);
  } catch (error) {
    const ran = await runs(deps.backend, handle);
    if (ran === undefined) return log.error('whether the VM runs is found out later', { error });
    if (!ran) return stayPaused(attempt, handle, error);
    log.warn(`the VM runs, and yet: ${messageOf(error)}`);
  }
  await tellRunning(attempt);
}

/** Keep a VM that was taken and does not run. Never rejects: a step that fails is done later. */
async function keep(attempt: DestinationAttempt): Promise<void> {
  const { deps, metadata, row, log } = attempt;
  try {
    await reach(attempt, 'taken');
    if (metadata.rest === 'suspended') await deps.suspended.keep(row.uuid, row.migrationId);
    await write(attempt, { ...row, state: 'unpausing' });
    await reach(attempt, 'unpausing');
  } catch (error) {
    return log.error('what was taken is kept later', { error });
  }
  await tellRunning(attempt);
}

/** Send point 4. Never rejects. */
async function tellRunning(attempt: DestinationAttempt): Promise<void> {
  const { log } = attempt;
  await reach(attempt, '4')
    .then(() => sendPoint(log, '4', attempt.control as RawSocket))
    .catch(warn(log, 'point 4 not sent'));
  await reach(attempt, 'done')
    .then(() => write(attempt, { ...attempt.row, state: 'done' }))
    .catch(warn(log, 'the end is not journaled'));
}

/** Whether the domain ever ran; undefined where that cannot be found out. */
async function runs(backend: Backend, handle: DomainHandle): Promise<boolean | undefined> {
  const domains = await backend.list().catch(() => undefined);
  return domains && domains.find((domain) => sameDomain(domain.handle, handle))?.everRan === true;
}

async function stayPaused({ deps, row, log }: DestinationAttempt, handle: DomainHandle, error: unknown): Promise<void> {
  log.error('the VM was taken and does not run; it stays paused', { error });
  const reason = encodeDoubt(row.migrationId, shorten(messageOf(error)));
  await deps.backend.markInDoubt(handle, reason).catch(warn(log, 'it is not marked'));
}

function warn(log: Log, what: string): (error: unknown) => void {
  return (error) => log.warn(`${what}: ${messageOf(error)}`);
}

async function refuse(attempt: DestinationAttempt, error: unknown): Promise<void> {
  const { deps, control, log, refusal } = attempt;
  const cause = refusal.signal.aborted ? refusal.signal.reason : error;
  log.warn('refused', { error: cause });
  if (control !== undefined && !(cause instanceof PeerError)) await sendError(control, describe(cause));
  await refuseRow(deps, attempt.row).catch((reason: unknown) =>
    log.error('a refusal could not be completed', { error: reason }),
  );
  attempt.row = { ...attempt.row, state: 'refused' };
}

function describe(error: unknown): string {
  return shorten(sayingOf(error));
}
