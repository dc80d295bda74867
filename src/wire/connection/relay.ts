/**
 * Passes a channel's bytes on between its connection and a socket pair, both ways, and does to them on purpose what a
 * bad network or a bad peer does. For fault rules alone: without one, the data path does not pass through the daemon.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { within } from '../../base/deadline.js';
import type { RawSocket } from './raw-socket.js';

/**
 * `reset` and `close` end the connection both ways, as a reset and as when the process had gone; `silent` lets nothing
 * more through either way and keeps the connection open; `slow` lets a byte a second through, each way. Of what goes
 * from source to destination `flip` inverts one bit; `truncate` ends the stream there, and drops the rest; `trailing`
 * puts bytes behind its end.
 */
export type DamageKind = 'reset' | 'close' | 'silent' | 'slow' | 'flip' | 'truncate' | 'trailing';

export interface Damage {
  readonly how: DamageKind;
  /** Bytes that go from source to destination first. */
  readonly after: number;
}

export interface RelayInit {
  /** The channel's connection, which the relay takes over. */
  readonly network: RawSocket;
  /** Our end of the pair whose other end takes the place of the connection; taken over as well. */
  readonly near: RawSocket;
  /** Whether the source is at the near end. */
  readonly sends: boolean;
  /** Time that a byte takes when the channel is slow, in milliseconds. */
  readonly slowMs?: number;
}

export interface Relay {
  /** Do this from now on. */
  damage(damage: Damage): void;
  /**
   * The channel is over for us: what came from the near end is passed on, and then both are closed, in bounded time.
   */
  close(): void;
  /** Resolves when both connections are closed. */
  readonly closed: Promise<void>;
}

/** Time in which the rest is passed on at the end, in milliseconds. */
const closeMs = 1_000;
const tail = Buffer.from('bytes behind the end');

/** A channel that is passed on, and what is done to it. */
interface Passage {
  readonly network: RawSocket;
  readonly near: RawSocket;
  /** The end at which the source is, and the other. */
  readonly from: RawSocket;
  readonly to: RawSocket;
  readonly slowMs: number;
  /** Aborted when both connections are closed. */
  readonly over: AbortController;
  /** Damages that are yet to be done, and after how many more bytes. */
  damages: { readonly how: DamageKind; left: number }[];
  pace: 'full' | 'slow' | 'silent';
  truncated: boolean;
  trailing: boolean;
}

/** Begin to pass on. */
export function openRelay({ network, near, sends, slowMs = 1_000 }: RelayInit): Relay {
  const passage: Passage = {
    network,
    near,
    from: sends ? near : network,
    to: sends ? network : near,
    slowMs,
    over: new AbortController(),
    damages: [],
    pace: 'full',
    truncated: false,
    trailing: false,
  };
  const forwards = passForward(passage);
  const back = passBack(passage);
  const over = () => closeBoth(passage);
  void Promise.all([forwards, back]).then(over, over);
  return {
    closed: Promise.all([near.closed, network.closed]).then(() => undefined),
    damage({ how, after }) {
      passage.damages.push({ how, left: after });
      strikeDue(passage);
    },
    close() {
      const outwards = sends ? forwards : back;
      const sent = passage.pace === 'full' ? within(outwards, closeMs, 'not passed on') : Promise.resolve();
      sent.catch(() => undefined).finally(over);
    },
  };
}

function closeBoth({ over, near, network }: Passage): void {
  over.abort();
  near.destroy();
  network.destroy();
}

async function passForward(passage: Passage): Promise<void> {
  const { from, to } = passage;
  await from.flow((bytes) => forward(passage, bytes));
  if (passage.pace === 'silent') await forGood();
  if (passage.trailing && !passage.truncated) await to.write(tail);
  if (!passage.truncated) await to.end();
}

async function passBack(passage: Passage): Promise<void> {
  const { from, to } = passage;
  await to.flow((bytes) => put(passage, from, bytes));
  if (passage.pace === 'silent') await forGood();
  await from.end();
}

/** Pass on what comes from the source, up to each damage. */
async function forward(passage: Passage, bytes: Uint8Array): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) {
    rest = flipDue(passage, rest);
    const next = rest.subarray(0, Math.min(rest.length, ...passage.damages.map(({ left }) => left)));
    rest = rest.subarray(next.length);
    for (const damage of passage.damages) damage.left -= next.length;
    if (!passage.truncated) await put(passage, passage.to, next);
    strikeDue(passage);
  }
}

async function put(passage: Passage, into: RawSocket, bytes: Uint8Array): Promise<void> {
  if (passage.pace === 'full') return into.write(bytes);
  for (const byte of bytes) {
    if (passage.pace === 'silent') await forGood();
    await delay(passage.slowMs, undefined, { signal: passage.over.signal });
    await into.write(Uint8Array.of(byte));
  }
}

/** Take out the damages that are due and fit. */
function takeDue(passage: Passage, fits: (how: DamageKind) => boolean): DamageKind[] {
  const due = passage.damages.filter(({ how, left }) => left === 0 && fits(how));
  passage.damages = passage.damages.filter((each) => !due.includes(each));
  return due.map(({ how }) => how);
}

/** Do what is due. A flip waits for its byte. */
function strikeDue(passage: Passage): void {
  for (const how of takeDue(passage, (how) => how !== 'flip')) strike(passage, how);
}

function strike(passage: Passage, how: DamageKind): void {
  if (how === 'reset') passage.network.reset();
  if (how === 'reset' || how === 'close') closeBoth(passage);
  if (how === 'silent' || how === 'slow') passage.pace = how;
  if (how === 'trailing') passage.trailing = true;
  if (how === 'truncate' && !passage.truncated) {
    passage.truncated = true;
    passage.to.end().catch(() => closeBoth(passage));
  }
}

/** @returns the bytes, of which the first has one bit inverted where a flip is due */
function flipDue(passage: Passage, bytes: Uint8Array): Uint8Array {
  if (takeDue(passage, () => true).length === 0) return bytes;
  const flipped = Uint8Array.from(bytes);
  flipped[0] = (flipped[0] as number) ^ 0x10;
  return flipped;
}

function forGood(): Promise<never> {
  return new Promise(() => undefined);
}
