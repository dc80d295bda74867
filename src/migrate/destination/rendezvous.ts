/**
 * Where the channels of a migration meet the attempt that waits for them: the port's listener delivers, the destination collects.
 * A channel is taken only for the migration, the VM and the device that were announced, with the migration's own token, and
 * once. Everything else is told why and closed.
 */

import { within } from '../../base/deadline.js';
import type { Log } from '../../base/log.js';
import { sameSecret } from '../../base/secret.js';
import type { ChannelHead, ChannelKind, Cookies } from '../../wire/connection/channel.js';
import { sendError } from '../../wire/connection/handshake.js';
import type { RawSocket } from '../../wire/connection/raw-socket.js';
import { memoryMigrationVersion } from '../protocol.js';

export interface ArrivedChannel {
  readonly socket: RawSocket;
  readonly cookies: Cookies;
}

/** What an attempt expects. */
interface Expected {
  readonly migrationId: string;
  /** The VM's uuid. */
  readonly uuid: string;
  readonly temporaryUuid: string;
  readonly token: string;
  readonly memoryBytes: number;
  readonly vgpus: readonly string[];
}

export interface Meeting {
  /** The channel, once it is there. @throws when it does not come within `timeoutMs` */
  channel(kind: ChannelKind, device: string | undefined, timeoutMs: number): Promise<ArrivedChannel>;
  /** Take no more channels, and close those that came. */
  end(): void;
}

export interface Rendezvous {
  expect(expected: Expected): Meeting;
  /** Take over the connection of a channel. */
  deliver(head: ChannelHead, socket: RawSocket): void;
}

interface Place {
  readonly arrived: Promise<ArrivedChannel>;
  resolve(channel: ArrivedChannel): void;
  taken: boolean;
}

interface Expectation {
  readonly expected: Expected;
  /** The cookie `compress` of the first channel, which goes for all channels. */
  compress?: string;
  readonly places: ReadonlyMap<string, Place>;
}

/** Make a rendezvous that expects nothing. @param log for the channels that are refused */
export function createRendezvous(log: Log): Rendezvous {
  const attempts = new Map<string, Expectation>();
  return {
    expect(expected) {
      const sockets: RawSocket[] = [];
      const keys = [placeKey('vm'), placeKey('mem'), ...expected.vgpus.map((device) => placeKey('vgpu', device))];
      const places = new Map(keys.map((key) => [key, openPlace(sockets)]));
      attempts.set(expected.migrationId, { expected, places });
      return {
        channel(kind, device, timeoutMs) {
          const place = places.get(placeKey(kind, device)) as Place;
          return within(place.arrived, timeoutMs, `no ${kind} channel`);
        },
        end() {
          attempts.delete(expected.migrationId);
          for (const socket of sockets) socket.destroy();
        },
      };
    },
    deliver(head, socket) {
      const attempt = attempts.get(head.cookies.migration_id ?? '');
      const place = attempt?.places.get(placeKey(head.kind, head.device));
      const wrong = refusal(head, attempt, place);
      if (wrong === undefined && attempt !== undefined && place !== undefined) {
        place.taken = true;
        attempt.compress = head.cookies.compress ?? '';
        place.resolve({ socket, cookies: head.cookies });
        return;
      }
      const { why, answer } = wrong ?? refused('refused');
      log.warn(`migration channel refused: ${why}`, { kind: head.kind, vm: attempt?.expected.uuid });
      sendError(socket, answer).finally(() => socket.destroy());
    },
  };
}

function placeKey(kind: ChannelKind, device?: string): string {
  return device === undefined ? kind : `${kind}.${device}`;
}

function openPlace(sockets: RawSocket[]): Place {
  let deliver: (channel: ArrivedChannel) => void = () => undefined;
  const arrived = new Promise<ArrivedChannel>((resolve) => {
    deliver = resolve;
  });
  const resolve = (channel: ArrivedChannel) => {
    sockets.push(channel.socket);
    deliver(channel);
  };
  return { arrived, resolve, taken: false };
}

/** Why a channel is refused: a text for the log, and one for the source, which quotes the head; the log does not quote it. */
interface Refusal {
  readonly why: string;
  readonly answer: string;
}

function refused(why: string, answer = why): Refusal {
  return { why, answer };
}

function refusal(head: ChannelHead, attempt: Expectation | undefined, place: Place | undefined): Refusal | undefined {
  if (attempt === undefined) return refused('no migration is expected under this migration_id');
  const { expected } = attempt;
  if (!sameSecret(head.sessionId, expected.token)) return refused('the session_id is not that of the migration');
  if (head.uuid !== expected.temporaryUuid) return refused(`the migration is of ${expected.temporaryUuid}`);
  if (place === undefined) return refused('the VM has no such vGPU', `the VM has no vGPU ${head.device ?? ''}`);
  if (place.taken) return refused('there is such a channel already');
  const compress = head.cookies.compress ?? '';
  if (compress !== '' && compress !== 'zstd')
    return refused('compress is not zstd', `compress=${shown(compress)}, allowed: zstd`);
  if (compress !== (attempt.compress ?? compress)) {
    return refused(`compress=${compress || 'nothing'}, where an earlier channel has ${attempt.compress || 'nothing'}`);
  }
  return wrongCookie(head, expected);
}

/** Find a cookie that says something else than VM.receive was told. */
function wrongCookie({ cookies, device }: ChannelHead, expected: Expected): Refusal | undefined {
  const allowed: Cookies = {
    mem_migration: memoryMigrationVersion,
    instance_id: expected.uuid,
    final_id: expected.uuid,
    memory_limit: String(expected.memoryBytes),
    memory_total_source: String(expected.memoryBytes),
    ...(device === undefined ? {} : { vgpu_migration: device }),
  };
  for (const [name, value] of Object.entries(allowed)) {
    const said = cookies[name] ?? value;
    if (said !== value) return refused(`${name} is another`, `${name} ${shown(said)}, allowed: ${value}`);
  }
  return undefined;
}

/** As it goes into a message. */
function shown(said: string): string {
  return said.slice(0, 100);
}
