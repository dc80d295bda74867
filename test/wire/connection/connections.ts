/** Connections over the loopback for the tests of the wire, and what this process and its children have open. */
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { adoptRaw, connectRaw, type RawSocket } from '../../../src/wire/connection/raw-socket.js';
import { openSocketPair } from '../../../src/wire/connection/socket-pair.js';

/** A raw end, and an ordinary socket at the other one. */
export interface Pair {
  readonly raw: RawSocket;
  readonly peer: net.Socket;
}

export interface Connections {
  /** The raw end connects. */
  connected(): Promise<Pair>;
  /** The raw end is accepted. */
  adopted(): Promise<Pair>;
  /** Raw at both ends, over TCP. */
  rawPair(): Promise<[RawSocket, RawSocket]>;
  socketPair(): Promise<[RawSocket, RawSocket]>;
  /** Something else to destroy in the end. */
  keep<T extends { destroy(): unknown }>(socket: T): T;
  close(): void;
}

export function openConnections(): Connections {
  const kept: { destroy(): unknown }[] = [];
  const keep = <T extends { destroy(): unknown }>(socket: T): T => {
    kept.push(socket);
    return socket;
  };
  const meet = async <A, B>(
    connect: (port: number) => Promise<A>,
    take: (socket: net.Socket) => B,
  ): Promise<[A, B]> => {
    const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const accepted = once(server, 'connection').then(([socket]) => take(socket as net.Socket));
    const both = await Promise.all([connect((server.address() as net.AddressInfo).port), accepted]);
    server.close();
    return both;
  };
  const dialRaw = async (port: number) => keep(await connectRaw({ port, host: '127.0.0.1' }));
  const adopt = (socket: net.Socket) => keep(adoptRaw(socket).raw);
  return {
    keep,
    async connected() {
      const [raw, peer] = await meet(dialRaw, keep<net.Socket>);
      return { raw, peer: quiet(peer) };
    },
    async adopted() {
      const dial = async (port: number) => {
        const socket = keep(net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
        await once(socket, 'connect');
        return socket;
      };
      const [peer, raw] = await meet(dial, adopt);
      return { raw, peer: quiet(peer) };
    },
    rawPair: () => meet(dialRaw, adopt),
    async socketPair() {
      const [a, b] = await openSocketPair();
      return [keep(a), keep(b)];
    },
    close() {
      for (const socket of kept.splice(0)) socket.destroy();
    },
  };
}

function quiet(socket: net.Socket): net.Socket {
  return socket.on('error', () => undefined);
}

/** Everything that comes, up to the end. */
export async function readAll(from: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of from) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** The sockets and pipes that this process has open, by what the system calls them. */
export function openDescriptors(): Set<string> {
  const names = fs.readdirSync('/proc/self/fd').map((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return '';
    }
  });
  return new Set(names.filter((name) => /^(socket|pipe):/.test(name)));
}

/**
 * Wait until nothing is open that was not open before.
 * @throws with what still is after a while
 */
export async function nothingOpenSince(before: ReadonlySet<string>): Promise<void> {
  const limit = Date.now() + 10_000;
  for (;;) {
    const more = [...openDescriptors()].filter((name) => !before.has(name));
    if (more.length === 0) return;
    if (Date.now() > limit) throw new Error(`still open: ${more}`);
    await delay(5);
  }
}

/** The processes whose parent is this one, zombies counted. */
export function childProcesses(): Set<number> {
  const numbers = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return new Set(numbers.filter((name) => parentOf(name) === process.pid).map(Number));
}

function parentOf(pid: string): number | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}

/** Whether there is such a process, a zombie counted. */
export function processExists(pid: number): boolean {
  return fs.existsSync(`/proc/${pid}`);
}

/** The message of a promise that has to fail. */
export async function messageOfFailure(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: unknown) => (error as Error).message,
  );
}
