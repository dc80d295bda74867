/** A TCP proxy in front of a host, in which a test has one kind of channel in its own hands. */
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { readHead } from '../../src/wire/connection/channel.js';
import { adoptRaw, connectRaw, type RawSocket } from '../../src/wire/connection/raw-socket.js';

/** Passes what comes after the head of a channel on to the host; what the host says is passed back already. */
export type Passing = (near: RawSocket, far: RawSocket) => Promise<void>;

export interface ChannelProxy {
  readonly url: string;
  /** Do this to connections whose head has this in it, from now on. */
  take(channel: string, pass: Passing): void;
  close(): Promise<void>;
}

/** Open one on a free port of the loopback. */
export async function openChannelProxy(target: string): Promise<ChannelProxy> {
  const to = new URL(target);
  const sockets = new Set<RawSocket>();
  let taken: { readonly channel: string; readonly pass: Passing } | undefined;
  const keep = (socket: RawSocket): RawSocket => {
    sockets.add(socket);
    void socket.closed.then(() => sockets.delete(socket));
    return socket;
  };
  const connect = async (near: RawSocket): Promise<void> => {
    const { head, behind } = await readHead(near, Buffer.alloc(0), 60_000);
    near.unread(behind);
    const far = keep(await connectRaw({ port: Number(to.port), host: to.hostname }));
    const back = far.flow((bytes) => near.write(bytes)).then(() => near.end());
    back.catch(() => near.destroy());
    try {
      await far.write(head);
      await (taken !== undefined && head.includes(taken.channel) ? taken.pass : passAll)(near, far);
    } catch {
      far.destroy();
    }
  };
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (accepted) => {
    const near = keep(adoptRaw(accepted).raw);
    connect(near).catch(() => near.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    take(channel, pass) {
      taken = { channel, pass };
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const passAll: Passing = async (near, far) => {
  await near.flow((bytes) => far.write(bytes));
  await far.end();
};

const pieceBytes = 16 << 10;

/**
 * Pass so many bytes on, and take no more. It takes little at a time, and pauses, so that its system gives it no larger receive
 * buffer: what it does not take waits where it was sent.
 */
export function passSome(bytes: number): Passing {
  return async (near, far) => {
    for (let left = bytes; left > 0; ) {
      const piece = await near.read(Math.min(pieceBytes, left));
      left -= piece.length;
      await far.write(piece);
      await delay(1);
    }
  };
}

/** Take everything, and pass it on changed. */
export function passChanged(change: (bytes: Buffer) => Buffer): Passing {
  return async (near, far) => {
    const pieces: Uint8Array[] = [];
    await near.flow(async (bytes) => void pieces.push(Uint8Array.from(bytes)));
    await far.write(change(Buffer.concat(pieces)));
    await far.end();
  };
}
