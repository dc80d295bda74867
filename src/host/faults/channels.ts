/** The channels of migrations that fault rules can break: those that were opened while a rule was about them. */
import { setImmediate } from 'node:timers/promises';
import type { FaultPlace } from '../../migrate/faults.js';
import type { Side, Step } from '../../migrate/protocol.js';
import type { ChannelKind } from '../../wire/connection/channel.js';
import type { RawSocket } from '../../wire/connection/raw-socket.js';
import { type Damage, openRelay, type Relay } from '../../wire/connection/relay.js';
import { openSocketPair } from '../../wire/connection/socket-pair.js';

/** The kinds of channels by their names in a rule. */
export const channels = { control: 'vm', memory: 'mem', vgpu: 'vgpu' } as const satisfies Record<string, ChannelKind>;
export type Channel = keyof typeof channels;

/** The steps that a side comes to before the channel is open. */
const stepsBefore: Readonly<Record<Side, Readonly<Record<ChannelKind, readonly Step[]>>>> = {
  source: {
    vm: ['prepare', 'connect'],
    vgpu: ['prepare', 'connect'],
    mem: ['prepare', 'connect', '1-vgpu ACK', '1'],
  },
  destination: { vm: ['prepare'], vgpu: ['prepare'], mem: ['prepare', '1-vgpu', '1'] },
};

export interface FaultChannels {
  /** Put a relay on a channel. @returns the relay's end, which takes the channel's place */
  open(kind: ChannelKind, place: FaultPlace, socket: RawSocket): Promise<RawSocket>;
  /** Whether a rule waits for a channel of the migration, to damage it as soon as it is open. */
  awaits(kind: ChannelKind, place: FaultPlace): boolean;
  /**
   * Damage the migration's channels of one kind, or those that are still to open; what the side has sent so far passes first.
   * @returns whether there are any
   */
  damage(damage: Damage & { readonly channel: Channel }, place: FaultPlace, step: Step): Promise<boolean>;
}

/** One channel, or all of a kind, of one side of a migration. */
interface Key {
  readonly kind: ChannelKind;
  readonly side: Side;
  readonly migrationId: string;
}

/** How many turns of the event loop a relay takes to read a handshake and write it. */
const turnsToPass = 2;
/** How many damages wait at most for their channels: a migration may end before its channel opens. */
const mostWaiting = 100;

/** Begin without channels. */
export function createFaultChannels(): FaultChannels {
  const relays = new Map<Relay, Key>();
  let waiting: { readonly key: Key; readonly damage: Damage }[] = [];
  const awaited = (key: Key) => waiting.filter((each) => sameKey(each.key, key));

  return {
    awaits: (kind, place) => awaited(keyOf(kind, place)).length > 0,
    async open(kind, place, socket) {
      const [near, far] = await openSocketPair();
      const relay = openRelay({ network: socket.handOver(), near, sends: place.side === 'source' });
      const key = keyOf(kind, place);
      relays.set(relay, key);
      void relay.closed.then(() => relays.delete(relay));
      // Whoever opened the channel closes it when the migration ends.
      void socket.closed.then(() => {
        far.destroy();
        relay.close();
      });
      for (const { damage } of awaited(key)) relay.damage(damage);
      return far;
    },
    async damage({ channel, how, after }, place, step) {
      for (let turn = 0; turn < turnsToPass; turn += 1) await setImmediate();
      const key = keyOf(channels[channel], place);
      const damage = { how, after };
      const open = [...relays].filter(([, each]) => sameKey(each, key));
      for (const [relay] of open) relay.damage(damage);
      if (open.length > 0) return true;
      if (!stepsBefore[place.side][key.kind].includes(step)) return false;
      waiting = [...waiting, { key, damage }].slice(-mostWaiting);
      return true;
    },
  };
}

function keyOf(kind: ChannelKind, { side, migrationId }: FaultPlace): Key {
  return { kind, side, migrationId };
}

function sameKey(a: Key, b: Key): boolean {
  return a.kind === b.kind && a.side === b.side && a.migrationId === b.migrationId;
}
