/** How the source of a migration opens its channels. */
import { XapiError } from '../../base/errors.js';
import { type ChannelKind, channelUrl, openChannel } from '../../wire/connection/channel.js';
import type { RawSocket } from '../../wire/connection/raw-socket.js';
import type { ReceiveReply } from '../metadata.js';
import { temporaryUuid } from '../protocol.js';
import type { Destination } from '../request.js';
import {
  agreedOf,
  type Decision,
  enter,
  keepChannel,
  ofDestination,
  placeOf,
  reach,
  recv,
  rowOf,
  type SourceAttempt,
} from './attempt.js';

export interface Channels {
  readonly control: RawSocket;
  /** The memory channel; absent for a halted VM. */
  readonly memory?: RawSocket;
  readonly vgpu: ReadonlyMap<string, RawSocket>;
  /** Whether the destination sends 2-restored before it waits for point 3. */
  readonly restoredAck: boolean;
}

/** Open the channels, up to point 1-mem; for a halted VM, which needs the control channel alone, up to point 1. */
export async function connect(attempt: SourceAttempt, reply: ReceiveReply, decision: Decision): Promise<Channels> {
  const { settings, request } = attempt;
  enter(attempt, 'connect');
  const { domain, rest } = request.metadata;
  const memoryBytes = String(domain.memoryBytes);
  const { xenopsUrl, token } = agreedOf(rowOf(attempt));
  const open = async (kind: ChannelKind, more: Record<string, string> = {}, device?: string) => {
    const cookies = { ...decision.cookies, ...more };
    const url = channelUrl(xenopsUrl, kind, temporaryUuid(request.uuid), device);
    const socket = await ofDestination(attempt, () =>
      keepChannel(attempt, openChannel(url, token, cookies, settings.stepTimeoutMs, settings.keepAliveMs)),
    );
    return keepChannel(attempt, attempt.deps.faults.channel(kind, placeOf(attempt), socket));
  };
  await reach(attempt, 'connect');
  if (isElsewhere(request.destination, xenopsUrl)) await ofDestination(attempt, () => answers(attempt));
  const control = await open('vm', {
    memory_limit: memoryBytes,
    memory_total_source: memoryBytes,
    ...(reply.restoredAck ? { restored_ack: '1' } : {}),
  });
  attempt.control = control;
  const vgpu = new Map<string, RawSocket>();
  for (const device of rest === 'halted' ? [] : domain.vgpus) {
    const channel = await open('vgpu', { vgpu_migration: device }, device);
    vgpu.set(device, channel);
    await recv(attempt, '1-vgpu', channel);
    await reach(attempt, '1-vgpu ACK');
    await attempt.points.send('1-vgpu ACK', control);
  }
  await recv(attempt, '1', control);
  await reach(attempt, '1');
  if (rest === 'halted') return { control, vgpu, restoredAck: reply.restoredAck };
  const memory = await open('mem');
  await recv(attempt, '1-mem', memory);
  await reach(attempt, '1-mem ACK');
  await attempt.points.send('1-mem ACK', control);
  return { control, memory, vgpu, restoredAck: reply.restoredAck };
}

/** Whether the channels go where VM.receive was not answered, on the word of who asked for the migration or of another pool. */
function isElsewhere(destination: Destination, xenopsUrl: string): boolean {
  return destination.kind === 'foreign' && new URL(xenopsUrl).origin !== new URL(destination.master).origin;
}

/**
 * Assert that a host answers at the caller's URL, before the head of a channel is sent there.
 * @throws CANNOT_CONTACT_HOST
 */
async function answers(attempt: SourceAttempt): Promise<void> {
  const { deps, log } = attempt;
  const { xenopsUrl, migrationId, token } = agreedOf(rowOf(attempt));
  try {
    await deps.peers.at(xenopsUrl).expects(migrationId, token);
  } catch (error) {
    // Any error of the XenAPI is an answer, as from a host of an earlier version.
    if (error instanceof XapiError && error.code === 'CANNOT_CONTACT_HOST') throw error;
    log.debug('the destination answers', { error });
  }
}
