/**
 * A TCP proxy in front of a host that sees what passes, and can do to one kind of channel what a bad network, or a bad
 * peer, does.
 */
import net from 'node:net';

/** Damage to the bytes of the connections whose request line matches. */
export interface Damage {
  /** E.g. `/migrate/mem/`. */
  readonly channel: string;
  /** The byte that is hit, the head of the request included. */
  readonly at: number;
  /** Whether the byte is of those that go to the host, or of those that come from it; `to`, where absent. */
  readonly way?: 'to' | 'from';
  /**
   * `flip` inverts one byte, `cut` closes as if the sender had ended, `reset` drops the connection both ways, `stall` passes
   * nothing more and keeps it open, `down` drops every connection and takes no more.
   */
  readonly how: 'flip' | 'cut' | 'reset' | 'stall' | 'down';
}

/** A connection that came to the proxy. */
interface Passed {
  readonly request: string;
  /** Bytes of each way so far. */
  to: number;
  from: number;
}

export interface NetworkProxy {
  readonly url: string;
  /** Bytes that have come so far, in order. */
  readonly passed: readonly Passed[];
  /** Whether these bytes went to the host, within one of what was written. */
  carried(text: string): boolean;
  /** Do this from now on; nothing without it. */
  damage(damage: Damage | undefined): void;
  close(): Promise<void>;
}

/** Open a proxy on a free port of the loopback. */
export async function openProxy(target: string): Promise<NetworkProxy> {
  const to = new URL(target);
  const sockets = new Set<net.Socket>();
  const passed: Passed[] = [];
  const heads: string[] = [];
  let damage: Damage | undefined;
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  const server = net.createServer((near) => {
    const far = net.connect(Number(to.port), to.hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => sockets.delete(socket));
    }
    near.once('data', (first) => {
      const [request = ''] = first.toString('latin1').split('\r\n', 1);
      const connection: Passed = { request, to: 0, from: 0 };
      passed.push(connection);
      const mine = damage !== undefined && request.includes(damage.channel) ? damage : undefined;
      const pump = (way: 'to' | 'from', source: net.Socket, sink: net.Socket, head?: Buffer): void => {
        const pass = (chunk: Buffer): void => {
          const start = connection[way];
          connection[way] += chunk.length;
          if (way === 'to') heads.push(chunk.subarray(0, 64 << 10).toString('latin1'));
          const isHit =
            mine !== undefined && (mine.way ?? 'to') === way && mine.at >= start && mine.at < connection[way];
          if (!isHit) return void sink.write(chunk);
          const offset = mine.at - start;
          if (mine.how === 'flip') {
            chunk[offset] = (chunk[offset] as number) ^ 0xff;
            return void sink.write(chunk);
          }
          if (mine.how === 'reset') {
            source.resetAndDestroy();
            sink.resetAndDestroy();
            return;
          }
          if (mine.how === 'down') return void close();
          if (mine.how === 'cut') sink.end(chunk.subarray(0, offset));
          else sink.write(chunk.subarray(0, offset));
          source.removeListener('data', pass);
          source.resume();
        };
        source.on('data', pass);
        if (head !== undefined) pass(head);
        source.on('end', () => sink.end());
      };
      pump('to', near, far, first);
      pump('from', far, near);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    passed,
    carried: (text) => heads.some((head) => head.includes(text)),
    damage(next) {
      damage = next;
    },
    close,
  };
}
