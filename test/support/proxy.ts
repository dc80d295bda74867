/** A TCP proxy in front of a host that can do to one kind of channel what a bad network, or a bad peer, does. */
import net from 'node:net';

/** What happens to the bytes that go to the host on the channels whose request line matches. */
export interface Damage {
  /** E.g. `/migrate/mem/`. */
  readonly channel: string;
  /** After so many bytes, the head included. */
  readonly at: number;
  /**
   * `flip` inverts one byte, `cut` closes as if the sender had ended, `reset` drops the connection both ways, `stall` passes
   * nothing more and keeps it open.
   */
  readonly how: 'flip' | 'cut' | 'reset' | 'stall';
}

export interface NetworkProxy {
  readonly url: string;
  /** Do this from now on; nothing without it. */
  damage(damage: Damage | undefined): void;
  close(): Promise<void>;
}

/** Open a proxy on a free port of the loopback. */
export async function openProxy(target: string): Promise<NetworkProxy> {
  const to = new URL(target);
  const sockets = new Set<net.Socket>();
  let damage: Damage | undefined;
  const server = net.createServer((near) => {
    const far = net.connect(Number(to.port), to.hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => sockets.delete(socket));
    }
    far.pipe(near);
    near.once('data', (first) => {
      const mine = damage !== undefined && first.toString('latin1').includes(damage.channel) ? damage : undefined;
      let passed = 0;
      const pass = (chunk: Buffer) => {
        const start = passed;
        passed += chunk.length;
        if (mine === undefined || mine.at < start || mine.at >= passed) return far.write(chunk);
        const offset = mine.at - start;
        if (mine.how === 'flip') {
          chunk[offset] = (chunk[offset] as number) ^ 0xff;
          return far.write(chunk);
        }
        if (mine.how === 'reset') {
          near.resetAndDestroy();
          return far.resetAndDestroy();
        }
        if (mine.how === 'cut') far.end(chunk.subarray(0, offset));
        else far.write(chunk.subarray(0, offset));
        near.removeListener('data', pass);
        return near.resume();
      };
      near.on('data', pass);
      pass(first);
      near.on('end', () => far.end());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    damage(next) {
      damage = next;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
