/**
 * The one port of a host. A look at the first bytes of a connection decides: `PUT .../migrate/...` is a raw channel, everything
 * else goes to HTTP as if nobody had looked.
 */
import http from 'node:http';
import net from 'node:net';
import { messageOf, XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { type ChannelHead, decodeHead, isChannelRequest, readHead } from './channel.js';
import { sendError } from './handshake.js';
import { adoptRaw, type RawSocket } from './raw-socket.js';

export interface FrontDeps {
  readonly log: Log;
  /** Connections wait for this, and nothing of them is read; for nothing where absent. */
  readonly ready?: Promise<unknown>;
  /** See connectRaw in raw-socket; asked for each connection. */
  readonly keepAliveMs?: () => number;
  readonly onRequest: (request: http.IncomingMessage, response: http.ServerResponse) => void;
  /** Takes over the connection, and must close it in the end. */
  readonly onChannel: (head: ChannelHead, socket: RawSocket) => void;
  /** What is other than `frontLimits`. */
  readonly limits?: Partial<FrontLimits>;
}

export interface FrontLimits {
  /** How long a connection may take to say what it wants: to the end of a channel's head. */
  readonly headTimeoutMs: number;
  /**
   * Connections that have not sent a whole head yet. One more, and the oldest of them is closed: it has had the most time, and who
   * means something says it at once.
   */
  readonly headless: number;
  /** Connections in all; further ones are closed at once. */
  readonly connections: number;
}

/** Limits of the port unless `createFront` is told others. */
export const frontLimits: FrontLimits = { headTimeoutMs: 10_000, headless: 1000, connections: 10_000 };

export interface Front {
  /** @returns the port, which is news when 0 was asked for */
  listen(port: number, address: string): Promise<number>;
  /** Stop listening, and close the connections that HTTP has. */
  close(): Promise<void>;
}

const firstBytes = 4;

/** Make the port's server; `listen` opens it. */
export function createFront(deps: FrontDeps): Front {
  const limits = { ...frontLimits, ...deps.limits };
  const headless = createHeadless(limits.headless, deps.log);
  const web = http.createServer({ maxHeaderSize: 16 * 1024, keepAliveTimeout: 300_000 }, (request, response) => {
    headless.leave(request.socket);
    deps.onRequest(request, response);
  });
  web.on('connect', (request, socket) => {
    answerTunnel(request, socket as net.Socket, deps, limits.headTimeoutMs);
  });
  // It never listens by itself, but only from then on does it watch over slow requests and know its connections.
  web.emit('listening');
  const take = (accepted: net.Socket): void => {
    const { raw, release } = adoptRaw(accepted, deps.keepAliveMs?.());
    const toWeb = (read: Buffer) => {
      const ordinary = release(read);
      headless.enter(ordinary);
      ordinary.once('close', () => headless.leave(ordinary));
      web.emit('connection', ordinary);
    };
    headless.enter(raw);
    decide(raw, toWeb, deps, limits.headTimeoutMs)
      .catch((error: unknown) => {
        deps.log.debug('connection refused', { reason: withoutHead(error) });
        raw.destroy();
      })
      .finally(() => headless.leave(raw));
  };
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, async (accepted) => {
    headless.enter(accepted);
    await deps.ready;
    headless.leave(accepted);
    if (!accepted.destroyed) take(accepted);
  });
  server.maxConnections = limits.connections;
  server.on('drop', () => deps.log.debug(`connection refused: there are ${limits.connections} already`));
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
      headless.close();
      web.closeAllConnections();
      web.close();
      await closed;
    },
  };
}

/** What was wrong with a connection, without what it has sent. */
function withoutHead(error: unknown): string {
  return error instanceof XapiError && typeof error.cause === 'string' ? error.cause : messageOf(error);
}

/**
 * Who asks for a tunnel gets an answer, and then the end. From here on Node neither listens to the socket nor closes it: it stays
 * among those without a head, which the port closes with itself, and is read on for a while, so that the answer gets through.
 */
function answerTunnel(request: http.IncomingMessage, socket: net.Socket, deps: FrontDeps, lingerMs: number): void {
  socket.on('error', (error) => deps.log.debug('tunnel refused', { reason: messageOf(error) }));
  const response = new http.ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.once('finish', () => {
    socket.end();
    socket.resume();
    const linger = setTimeout(() => socket.destroy(), lingerMs);
    socket.once('close', () => clearTimeout(linger));
  });
  deps.onRequest(request, response);
}

interface Closable {
  destroy(): unknown;
}

/** The connections that have not sent a whole head, oldest first, and no more than `most`. */
function createHeadless(most: number, log: Log) {
  const waiting = new Set<Closable>();
  return {
    enter(connection: Closable) {
      waiting.add(connection);
      if (waiting.size <= most) return;
      const [oldest] = waiting;
      log.debug(`connection closed: ${most} newer ones have sent no whole head either`);
      waiting.delete(oldest as Closable);
      oldest?.destroy();
    },
    leave: (connection: Closable) => void waiting.delete(connection),
    close() {
      for (const connection of waiting) connection.destroy();
    },
  };
}

async function decide(
  raw: RawSocket,
  toWeb: (read: Buffer) => void,
  deps: FrontDeps,
  headTimeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + headTimeoutMs;
  const start = await raw.read(firstBytes, headTimeoutMs);
  if (start.toString('latin1') !== 'PUT ') return toWeb(start);
  const head = await readHead(raw, start, deadline - performance.now());
  if (!isChannelRequest(head.toString('utf8').split('\r\n', 1)[0] ?? '')) return toWeb(head);
  const channel = await headOrRefusal(raw, head);
  deps.onChannel(channel, raw);
}

/** Who asks for a channel understands an Error in place of a handshake, and no HTTP. @throws what is wrong with the head */
async function headOrRefusal(raw: RawSocket, head: Buffer): Promise<ChannelHead> {
  try {
    return decodeHead(head);
  } catch (error) {
    await sendError(raw, error instanceof XapiError ? error.params.join(' ') : messageOf(error));
    throw error;
  }
}
