/**
 * The one port of a host. A look at the first bytes of a connection decides: `PUT .../migrate/...` is a raw channel, everything
 * else goes to HTTP as if nobody had looked.
 */
import http from 'node:http';
import net from 'node:net';
import { messageOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { type ChannelHead, decodeHead, isChannelRequest, readHead } from './channel.js';
import { adoptRaw, type RawSocket } from './raw-socket.js';

export interface FrontDeps {
  readonly log: Log;
  readonly onRequest: (request: http.IncomingMessage, response: http.ServerResponse) => void;
  /** Takes over the connection, and must close it in the end. */
  readonly onChannel: (head: ChannelHead, socket: RawSocket) => void;
}

export interface Front {
  /** @returns the port, which is news when 0 was asked for */
  listen(port: number, address: string): Promise<number>;
  /** Stop listening, and close the connections that HTTP has. */
  close(): Promise<void>;
}

/** How long a connection may take to say what it wants. */
const headTimeoutMs = 10_000;
const firstBytes = 4;

/** Make the port's server; `listen` opens it. */
export function createFront(deps: FrontDeps): Front {
  const web = http.createServer({ maxHeaderSize: 16 * 1024, keepAliveTimeout: 300_000 }, deps.onRequest);
  // It never listens by itself, but only from then on does it watch over slow requests and know its connections.
  web.emit('listening');
  const undecided = new Set<RawSocket>();
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (accepted) => {
    const { raw, release } = adoptRaw(accepted);
    const toWeb = (read: Buffer) => web.emit('connection', release(read));
    undecided.add(raw);
    decide(raw, toWeb, deps)
      .catch((error: unknown) => {
        deps.log.debug('connection refused', { reason: messageOf(error) });
        raw.destroy();
      })
      .finally(() => undecided.delete(raw));
  });
  return {
    listen: (port, address) =>
      new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, address, () => {
          server.off('error', reject);
          // A connection that cannot be accepted, as when descriptors run out, is no reason to stop.
          server.on('error', (error) => deps.log.warn(`cannot accept: ${messageOf(error)}`));
          resolve((server.address() as net.AddressInfo).port);
        });
      }),
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const raw of undecided) raw.destroy();
      web.closeAllConnections();
      web.close();
      await closed;
    },
  };
}

async function decide(raw: RawSocket, toWeb: (read: Buffer) => void, deps: FrontDeps): Promise<void> {
  const start = await raw.read(firstBytes, headTimeoutMs);
  if (start.toString('latin1') !== 'PUT ') return toWeb(start);
  const head = await readHead(raw, start, headTimeoutMs);
  if (!isChannelRequest(head.toString('utf8').split('\r\n', 1)[0] ?? '')) return toWeb(head);
  deps.onChannel(decodeHead(head), raw);
}
