/**
 * The one port of a host. A look at the first bytes of a connection decides: `PUT .../migrate/...` is a raw channel, everything
 * else goes to HTTP as if nobody had looked.
 */
import http from 'node:http';
import net from 'node:net';
import { messageOf, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { type ChannelHead, decodeHead, isChannelRequest, maxHeadBytes, readHead } from './channel.js';
import {
  type Connection,
  type ConnectionLimits,
  createConnectionRegistry,
  descriptorsForConnections,
} from './connection-registry.js';
import { sendError } from './handshake.js';
import { adoptRaw, type RawSocket } from './raw-socket.js';

export interface ListenerDeps {
  readonly log: Log;
  /** Connections wait for this, and nothing of them is read; for nothing where absent. */
  readonly ready?: Promise<unknown>;
  /** See connectRaw in raw-socket; asked for each connection. */
  readonly keepAliveMs?: () => number;
  readonly onRequest: (request: http.IncomingMessage, response: http.ServerResponse) => void;
  /** Takes over the connection, and must close it in the end. */
  readonly onChannel: (head: ChannelHead, socket: RawSocket) => void;
  /** Limits other than those of `listenerLimits`. */
  readonly limits?: Partial<ListenerLimits>;
}

export interface ListenerLimits extends ConnectionLimits {
  /** Time in which a connection says what it wants, to the end of a channel's head, in milliseconds. */
  readonly headTimeoutMs: number;
  /** Time in which a body may get no further, or an answer not be read on, in milliseconds. */
  readonly stallMs: number;
}

/**
 * Limits of the port unless `createListener` is told others; of descriptors those that this process may use for
 * connections.
 */
const listenerLimits = { headTimeoutMs: 10_000, stallMs: 60_000, headless: 1000, connections: 10_000 };

export interface Listener {
  /** @returns the port, which is news when 0 was asked for */
  listen(port: number, address: string): Promise<number>;
  /** Stop listening, and close the connections that HTTP has. */
  close(): Promise<void>;
}

const firstBytes = Buffer.from('PUT ');

/** Make the port's server; `listen` opens it. */
export function createListener(deps: ListenerDeps): Listener {
  const limits = { ...listenerLimits, descriptors: descriptorsForConnections(), ...deps.limits };
  const registry = createConnectionRegistry(limits, deps.log);
  const web = createWeb(deps, limits);
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, async (accepted) => {
    const connection = registry.enter(accepted, descriptorOf(accepted));
    if (connection === undefined) return;
    accepted.once('close', () => connection.leave());
    await deps.ready;
    if (!accepted.destroyed) take(accepted, connection, web, deps, limits);
  });
  return {
    listen: (port, address) => listenAt(server, port, address, deps.log),
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      registry.closeHeadless();
      web.close();
      await closed;
    },
  };
}

/** HTTP's part of the port. */
interface Web {
  /** Take over a connection of which nothing was read, or what was read has been put back. */
  take(socket: net.Socket, connection: Connection): void;
  /** Close every connection. */
  close(): void;
}

/** A server of HTTP that does not listen itself. */
function createWeb(deps: ListenerDeps, { stallMs, headTimeoutMs }: ListenerLimits): Web {
  const ofSocket = new WeakMap<net.Socket, Connection>();
  const server = http.createServer({ maxHeaderSize: 16 * 1024, keepAliveTimeout: 300_000 }, (request, response) => {
    ofSocket.get(request.socket)?.follow(request, response);
    deps.onRequest(request, response);
  });
  server.on('connect', (request, socket) => {
    ofSocket.get(socket as net.Socket)?.become('headless');
    answerTunnel(request, socket as net.Socket, deps, headTimeoutMs);
  });
  server.timeout = stallMs;
  server.on('timeout', (socket) => {
    // Silence is right while an answer is being made.
    if (ofSocket.get(socket)?.state === 'busy' && socket.writableLength === 0) return;
    socket.destroy();
  });
  // Only a server that listens watches over slow requests and knows its connections.
  server.emit('listening');
  return {
    take(socket, connection) {
      ofSocket.set(socket, connection);
      server.emit('connection', socket);
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Look at the first bytes of a connection, and give it to whom it is for. */
function take(
  accepted: net.Socket,
  connection: Connection,
  web: Web,
  { log, keepAliveMs, onChannel }: ListenerDeps,
  { headTimeoutMs }: ListenerLimits,
): void {
  const { raw, release } = adoptRaw(accepted, keepAliveMs?.());
  const toWeb = (read: Buffer) => {
    const ordinary = release(read);
    connection.closedBy(ordinary);
    web.take(ordinary, connection);
  };
  const toChannel = (head: ChannelHead) => {
    connection.become('busy');
    onChannel(head, raw);
  };
  connection.closedBy(raw);
  decide(raw, toWeb, toChannel, headTimeoutMs).catch((error: unknown) => {
    log.debug('connection refused', { reason: withoutHead(error) });
    raw.destroy();
  });
}

/** @returns the port */
function listenAt(server: net.Server, port: number, address: string, log: Log): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, () => {
      server.off('error', reject);
      // A connection that cannot be accepted, as when descriptors run out, is no reason to stop.
      server.on('error', (error) => log.warn(`cannot accept: ${messageOf(error)}`));
      resolve((server.address() as net.AddressInfo).port);
    });
  });
}

/** Say what was wrong with a connection, without what came over it. */
function withoutHead(error: unknown): string {
  return error instanceof XapiError && typeof error.cause === 'string' ? error.cause : messageOf(error);
}

/**
 * Who asks for a tunnel gets an answer, and then the end. From here on Node neither listens to the socket nor closes
 * it: it stays among those without a head, which the port closes with itself, and is read on for a while, so that the
 * answer gets through.
 */
function answerTunnel(request: http.IncomingMessage, socket: net.Socket, deps: ListenerDeps, lingerMs: number): void {
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

function descriptorOf(socket: net.Socket): number {
  return (socket as unknown as { _handle: { fd: number } | null })._handle?.fd ?? -1;
}

async function decide(
  raw: RawSocket,
  toWeb: (read: Buffer) => void,
  toChannel: (head: ChannelHead) => void,
  headTimeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + headTimeoutMs;
  const start = await raw.readSome(firstBytes.length, maxHeadBytes, headTimeoutMs);
  if (!start.subarray(0, firstBytes.length).equals(firstBytes)) return toWeb(start);
  const { head, behind } = await readHead(raw, start, deadline - performance.now(), isChannelRequest);
  if (head.length === 0) return toWeb(behind);
  const channel = await headOrRefusal(raw, head, behind);
  raw.unread(behind);
  toChannel(channel);
}

/**
 * Who asks for a channel understands an Error in place of a handshake, and no HTTP.
 * @throws what is wrong with the head
 */
async function headOrRefusal(raw: RawSocket, head: Buffer, behind: Buffer): Promise<ChannelHead> {
  try {
    const channel = decodeHead(head);
    // A source that gives up says so on the control channel. The others are read by helpers, who would not get these bytes.
    if (channel.kind !== 'vm' && behind.length > 0) {
      throw new XapiError('INTERNAL_ERROR', [`bytes on a ${channel.kind} channel before its first point`]);
    }
    return channel;
  } catch (error) {
    await sendError(raw, error instanceof XapiError ? error.params.join(' ') : messageOf(error));
    throw error;
  }
}
