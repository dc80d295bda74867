/** The hypervisor's socket: requests in, answers and notifications out; the newest attached daemon fences the older ones. */
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { toXapiError, XapiError } from '../base/errors.js';
import {
  createFrameDecoder,
  encodeFrame,
  type Frame,
  type HypervisorNotification,
  type HypervisorOp,
} from '../base/protocol/hypervisor-protocol.js';
import { isOp, parseArguments } from './arguments.js';
import type { Answer, Connection, DomainOp, Operations } from './operations.js';

export interface Server {
  /** Tell the attached daemon. */
  notify(notification: HypervisorNotification): void;
}

export interface ServerInit {
  readonly socketPath: string;
  readonly instance: string;
  readonly operations: Operations;
  log(line: string): void;
  /** Called when a client has asked for the end and has its answer. */
  quit(): void;
}

interface Client {
  readonly socket: net.Socket;
  role: 'none' | 'daemon' | 'helper' | 'fenced' | 'gone';
  /** Called when the client's connection has ended. */
  readonly endings: (() => void)[];
}

interface Request {
  readonly id: number;
  readonly op: string;
  readonly args: unknown;
}

/** A client that reads nothing while this much waits for it is cut off. */
const backlogLimit = 256 * 1024 * 1024;

/** Listen on a Unix socket that only this user can reach, in place of a file that a dead hypervisor left there. */
export async function startServer({ socketPath, instance, operations, log, quit }: ServerInit): Promise<Server> {
  const clients = new Set<Client>();

  const attach = (client: Client, role: 'daemon' | 'helper'): Answer<{ instance: string; pid: number }> => {
    for (const other of clients) {
      if (role === 'daemon' && other !== client && other.role === 'daemon') other.role = 'fenced';
    }
    client.role = role;
    log(`${role} attached`);
    return { result: { instance, pid: process.pid } };
  };
  const perform = async (client: Client, { op, args }: Request, binary: Buffer): Promise<Answer<unknown>> => {
    if (!isOp(op)) throw new XapiError('MESSAGE_METHOD_UNKNOWN', [op]);
    if (op === 'attach') return attach(client, parseArguments(op, args).role);
    assertAttached(client);
    if (op === 'quit') return { result: undefined };
    return dispatch(operations, op, args, binary, {
      onEnd: (listener) => void client.endings.push(listener),
      assertAttached: () => assertAttached(client),
    });
  };
  const serve = async (client: Client, frame: Frame): Promise<void> => {
    let id: number | null = null;
    try {
      const request = parseRequest(frame);
      id = request.id;
      const { result, binary } = await perform(client, request, frame.binary);
      send(client, { id, result }, binary);
      if (request.op === 'quit') client.socket.end(quit);
    } catch (error) {
      const { code, params } = toXapiError(error);
      send(client, { id, error: { code, params } });
    }
  };
  const accept = (socket: net.Socket): void => {
    const client: Client = { socket, role: 'none', endings: [] };
    const decode = createFrameDecoder();
    clients.add(client);
    socket.on('close', () => {
      clients.delete(client);
      client.role = 'gone';
      for (const ended of client.endings) ended();
    });
    socket.on('error', (error) => log(`a client's connection failed: ${error.message}`));
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const frame of decode(chunk)) void serve(client, frame);
      } catch (error) {
        socket.removeAllListeners('data');
        const { code, params } = toXapiError(error);
        log(`a client is cut off: ${params.join(' ')}`);
        send(client, { id: null, error: { code, params } });
        socket.destroySoon();
      }
    });
  };

  const server = net.createServer(accept);
  // A client for which there is no descriptor left, for example.
  server.on('error', (error) => log(`a client is not accepted: ${error.message}`));
  await listen(server, socketPath);
  return {
    notify: (notification) => {
      for (const client of clients) if (client.role === 'daemon') send(client, notification);
    },
  };
}

async function dispatch<O extends DomainOp>(
  operations: Operations,
  op: O,
  args: unknown,
  binary: Buffer,
  connection: Connection,
): Promise<Answer<unknown>> {
  return operations[op](parseArguments<HypervisorOp & O>(op, args), binary, connection);
}

function parseRequest({ text }: Frame): Request {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new XapiError('INTERNAL_ERROR', [`a request that is no JSON: ${error}`]);
  }
  const { id, op, args } = (value ?? {}) as Partial<Request>;
  if (typeof id === 'number' && typeof op === 'string') return { id, op, args };
  throw new XapiError('INTERNAL_ERROR', ['a request has a number as its id and a string as its op']);
}

function assertAttached({ role }: Client): void {
  if (role === 'none') throw new XapiError('OPERATION_NOT_ALLOWED', ['the first request on a connection is attach']);
  if (role === 'gone') throw new XapiError('OPERATION_NOT_ALLOWED', ['its connection has ended']);
  if (role === 'fenced') throw new XapiError('OPERATION_NOT_ALLOWED', ['fenced: a newer daemon has attached']);
}

function send({ socket }: Client, message: unknown, binary?: Uint8Array): void {
  if (socket.destroyed || !socket.writable) return;
  for (const part of encodeFrame(message, binary)) socket.write(part);
  if (socket.writableLength > backlogLimit) socket.destroy();
}

/**
 * Listen, unless somebody does already. The caller holds the lock of the state directory, and yet the socket may be another
 * program's.
 */
async function listen(server: net.Server, socketPath: string): Promise<void> {
  const probe = net.connect(socketPath);
  const taken = await once(probe, 'connect').then(
    () => true,
    () => false,
  );
  probe.destroy();
  if (taken) throw new Error(`somebody listens at ${socketPath} already`);
  fs.rmSync(socketPath, { force: true });
  server.listen(socketPath);
  await once(server, 'listening');
}
