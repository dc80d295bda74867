/** What a destination reads from its rows. */
import { randomBytes } from 'node:crypto';
import type { Backend } from '../../backend/backend.js';
import { XapiError } from '../../base/errors.js';
import { channelUrl } from '../../wire/connection/channel.js';
import type { DestinationRow, Journal } from '../../xenops/journal.js';
import type { ReceiveReply, Rest, VmMetadata } from '../metadata.js';
import { type DestinationState, temporaryUuid } from '../protocol.js';

/** How a VM is that an attempt is to take; undefined for one that runs. */
export function restOf({ request }: DestinationRow): Rest | undefined {
  return (request as VmMetadata).rest;
}

/** Whether an attempt has ended. */
export function isOver({ state }: DestinationRow<DestinationState>): boolean {
  return state === 'done' || state === 'refused';
}

/** The journal's rows of attempts to take a VM. */
export function destinationRows(journal: Journal): DestinationRow<DestinationState>[] {
  return journal.rows().filter((row) => row.side === 'destination') as DestinationRow<DestinationState>[];
}

/**
 * The reply of an attempt that is asked for again.
 * @throws OPERATION_NOT_ALLOWED where it has ended: nothing comes of it any more
 */
export function repeated(row: DestinationRow<DestinationState>): ReceiveReply {
  if (isOver(row))
    throw new XapiError('OPERATION_NOT_ALLOWED', [
      `migration ${row.migrationId} ${row.state === 'refused' ? 'was refused' : 'has ended'}`,
    ]);
  return row.reply as ReceiveReply;
}

/**
 * The row of a new attempt, with its reply.
 * @param base the URL below which its channels are
 * @param announce what the destination accepts, and whether it can send 2-restored
 */
export function reservedRow(
  { migrationId, metadata }: { readonly migrationId: string; readonly metadata: VmMetadata },
  base: string,
  announce: { readonly formats: readonly string[]; readonly restoredAck: boolean },
): DestinationRow<DestinationState> {
  const { uuid, vgpus } = metadata.domain;
  const temporary = temporaryUuid(uuid);
  const token = randomBytes(32).toString('hex');
  const reply: ReceiveReply = {
    control: channelUrl(base, 'vm', temporary),
    memory: channelUrl(base, 'mem', temporary),
    vgpu: Object.fromEntries(vgpus.map((device) => [device, channelUrl(base, 'vgpu', temporary, device)])),
    token,
    accepts: announce.formats,
    restoredAck: announce.restoredAck,
  };
  const request = metadata;
  return { side: 'destination', migrationId, uuid, temporaryUuid: temporary, state: 'reserved', token, request, reply };
}

/** The row of an attempt that is refused without having been asked for: nobody has its token, and nothing was made for it. */
export function unheardOf(migrationId: string, uuid: string): DestinationRow<DestinationState> {
  const token = randomBytes(32).toString('hex');
  const given = { request: {}, reply: {} };
  return {
    side: 'destination',
    migrationId,
    uuid,
    temporaryUuid: temporaryUuid(uuid),
    state: 'refused',
    token,
    ...given,
  };
}

/** @throws OPERATION_NOT_ALLOWED where a domain has the attempt's temporary uuid */
export async function assertFree(backend: Backend, row: DestinationRow): Promise<void> {
  const holder = (await backend.list()).find(({ uuid }) => uuid === row.temporaryUuid);
  if (holder === undefined) return;
  throw new XapiError('OPERATION_NOT_ALLOWED', [
    `the temporary uuid ${row.temporaryUuid} is in use by domain ${holder.handle.domid}`,
  ]);
}
