/**
 * A TCP proxy in front of a host that stops taking bytes of one kind of channel. It takes little at a time, and pauses, so that its
 * system gives it no larger receive buffer: what it does not take waits where it was sent.
 */
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { readHead } from '../../src/wire/channel.js';
import { adoptRaw, connectRaw, type RawSocket } from '../../src/wire/raw-socket.js';

export interface DeafProxy {
  readonly url: string;
  /** Take so many bytes, the head included, of connections whose request line has this in it, and then no more. */
  deafen(channel: string, after: number): void;
  close(): Promise<void>;
}

const pieceBytes = 16 << 10;

/** Open one on a free port of the loopback. */
export async function openDeafProxy(target: string): Promise<DeafProxy> {
  const to = new URL(target);
  const sockets = new Set<RawSocket>();
  let deaf: { readonly channel: string; readonly after: number } | undefined;
  const keep = (socket: RawSocket): RawSocket => {
    sockets.add(socket);
    void socket.closed.then(() => sockets.delete(socket));
    return socket;
  };
  const pass = async (near: RawSocket): Promise<void> => {
    const head = await readHead(near, Buffer.alloc(0), 60_000);
    const far = keep(await connectRaw({ port: Number(to.port), host: to.hostname }));
    const back = far.flow((bytes) => near.write(bytes)).then(() => near.end());
    back.catch(() => near.destroy());
    try {
      await far.write(head);
      if (deaf !== undefined && head.includes(deaf.channel)) return await passSome(near, far, deaf.after - head.length);
      await near.flow((bytes) => far.write(bytes));
      await far.end();
    } catch {
      far.destroy();
    }
  };
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (accepted) => {
    const near = keep(adoptRaw(accepted).raw);
    pass(near).catch(() => near.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    deafen(channel, after) {
      deaf = { channel, after };
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function passSome(near: RawSocket, far: RawSocket, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; ) {
    const piece = await near.read(Math.min(pieceBytes, left));
    left -= piece.length;
    await far.write(piece);
    await delay(1);
  }
}
