/**
 * Passes a channel's bytes on between its connection and a socket pair, both ways, and does to them on purpose what a bad network
 * or a bad peer does. For fault rules alone: without one, the data path does not pass through the daemon.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { within } from '../../base/deadline.js';
import type { RawSocket } from './raw-socket.js';

/**
 * `reset` and `close` end the connection both ways, as a reset and as when the process had gone; `silent` lets nothing more
 * through either way and keeps the connection open; `slow` lets a byte a second through, each way. Of what goes from source to
 * destination `flip` inverts one bit; `truncate` ends the stream there, and drops the rest; `trailing` puts bytes behind its end.
 */
export type DamageKind = 'reset' | 'close' | 'silent' | 'slow' | 'flip' | 'truncate' | 'trailing';

export interface Damage {
  readonly how: DamageKind;
  /** So many bytes go from source to destination first. */
  readonly after: number;
}

export interface RelayInit {
  /** The channel's connection, which the relay takes over. */
  readonly network: RawSocket;
  /** Our end of the pair whose other end takes the place of the connection; taken over as well. */
  readonly near: RawSocket;
  /** Whether the source is at the near end. */
  readonly sends: boolean;
  /** How long a byte takes when it is slow, in milliseconds. */
  readonly slowMs?: number;
}

export interface Relay {
  /** Do this from now on. */
  damage(damage: Damage): void;
  /** The channel is over for us: what came from the near end is passed on, and then both are closed, in bounded time. */
  close(): void;
  /** Resolves when both connections are closed. */
  readonly closed: Promise<void>;
}

/** So long what is left to pass on may take at the end. */
const closeMs = 1_000;
const tail = Buffer.from('bytes behind the end');

/** Begin to pass on. */
export function openRelay({ network, near, sends, slowMs = 1_000 }: RelayInit): Relay {
  const [from, to] = sends ? [near, network] : [network, near];
  const over = new AbortController();
  let damages: { readonly how: DamageKind; left: number }[] = [];
  let pace: 'full' | 'slow' | 'silent' = 'full';
  let truncated = false;
  let trailing = false;

  const closeBoth = (): void => {
    over.abort();
    near.destroy();
    network.destroy();
  };
  const put = async (into: RawSocket, bytes: Uint8Array): Promise<void> => {
    if (pace === 'full') return into.write(bytes);
    for (const byte of bytes) {
      if (pace === 'silent') await forGood();
      await delay(slowMs, undefined, { signal: over.signal });
      await into.write(Uint8Array.of(byte));
    }
  };
  const strike = (how: DamageKind): void => {
    if (how === 'reset') network.reset();
    if (how === 'reset' || how === 'close') closeBoth();
    if (how === 'silent' || how === 'slow') pace = how;
    if (how === 'trailing') trailing = true;
    if (how === 'truncate' && !truncated) {
      truncated = true;
      to.end().catch(closeBoth);
    }
  };
  /** Do what is due. A flip waits for its byte. */
  const strikeDue = (): void => {
    const due = damages.filter(({ how, left }) => left === 0 && how !== 'flip');
    damages = damages.filter((each) => !due.includes(each));
    for (const { how } of due) strike(how);
  };
  const flipDue = (bytes: Uint8Array): Uint8Array => {
    const due = damages.filter(({ left }) => left === 0);
    if (due.length === 0) return bytes;
    damages = damages.filter((each) => !due.includes(each));
    const flipped = Uint8Array.from(bytes);
    flipped[0] = (flipped[0] as number) ^ 0x10;
    return flipped;
  };
  const forward = async (bytes: Uint8Array): Promise<void> => {
    let rest = bytes;
    while (rest.length > 0) {
      rest = flipDue(rest);
      const next = rest.subarray(0, Math.min(rest.length, ...damages.map(({ left }) => left)));
      rest = rest.subarray(next.length);
      for (const damage of damages) damage.left -= next.length;
      if (!truncated) await put(to, next);
      strikeDue();
    }
  };
  const passForward = async (): Promise<void> => {
    await from.flow(forward);
    if (pace === 'silent') await forGood();
    if (trailing && !truncated) await to.write(tail);
    if (!truncated) await to.end();
  };
  const passBack = async (): Promise<void> => {
    await to.flow((bytes) => put(from, bytes));
    if (pace === 'silent') await forGood();
    await from.end();
  };

  const forwards = passForward();
  const back = passBack();
  void Promise.all([forwards, back]).then(closeBoth, closeBoth);
  return {
    closed: Promise.all([near.closed, network.closed]).then(() => undefined),
    damage({ how, after }) {
      damages.push({ how, left: after });
      strikeDue();
    },
    close() {
      const sent = pace === 'full' ? within(sends ? forwards : back, closeMs, 'not passed on') : Promise.resolve();
      sent.catch(() => undefined).finally(closeBoth);
    },
  };
}

function forGood(): Promise<never> {
  return new Promise(() => undefined);
}
