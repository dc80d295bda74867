/**
 * A pair of connected Unix sockets, as socketpair(2) makes, which Node lacks: both ends read exactly, and either may be handed
 * to a child.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { adoptRaw, connectRaw, type RawSocket } from './raw-socket.js';

/** @returns the two ends */
export async function openSocketPair(): Promise<[RawSocket, RawSocket]> {
  const directory = await mkdtemp(path.join(tmpdir(), 'xenferry-'));
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true });
  try {
    const at = path.join(directory, 'pair');
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(at, resolve);
    });
    const accepted = new Promise<RawSocket>((resolve) =>
      server.once('connection', (socket) => resolve(adoptRaw(socket).raw)),
    );
    const [a, b] = await Promise.all([connectRaw({ path: at }), accepted]);
    return [a, b];
  } finally {
    server.close();
    await rm(directory, { recursive: true, force: true });
  }
}
