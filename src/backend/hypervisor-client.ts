/** A client of the simulated hypervisor: requests and notifications over its Unix socket, for the daemon and its helpers. */
import { once } from 'node:events';
import net from 'node:net';
import { isErrorCode, messageOf, XapiError } from '../base/errors.js';
import {
  createFrameDecoder,
  encodeFrame,
  type Frame,
  type HypervisorNotification,
  type HypervisorOp,
  type HypervisorOps,
} from '../base/hypervisor-protocol.js';

export interface HypervisorClient {
  /** The instance that it is attached to; another one is another hypervisor, without the domains of the first. */
  readonly instance: string;
  /** The hypervisor's process id. */
  readonly pid: number;
  /**
   * One request. `binary` goes with it, the answer's binary part comes with the result (empty when it has none).
   * @throws the error that the hypervisor answered, or INTERNAL_ERROR when the connection is lost
   */
  call<O extends HypervisorOp>(
    op: O,
    args: HypervisorOps[O]['args'],
    binary?: Uint8Array,
  ): Promise<{ result: HypervisorOps[O]['result']; binary: Buffer }>;
  onNotification(listener: (notification: HypervisorNotification) => void): void;
  /** Called once when the connection has ended, whoever ended it. */
  onClose(listener: () => void): void;
  /** Ends the connection; requests that wait for an answer fail. */
  close(): Promise<void>;
}

interface Pending {
  resolve(answer: { result: unknown; binary: Buffer }): void;
  reject(error: XapiError): void;
}

interface Message {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly code: string; readonly params: readonly string[] };
  readonly event?: string;
}

/**
 * Connect to the hypervisor that listens on a Unix socket and attach to it.
 * @param role a daemon fences the daemons that attached before it; a helper fences nobody and gets no notifications
 * @throws INTERNAL_ERROR when nobody listens there
 */
export async function connectHypervisor(socketPath: string, role: 'daemon' | 'helper'): Promise<HypervisorClient> {
  const socket = net.connect(socketPath);
  await once(socket, 'connect').catch((error: unknown) => {
    throw new XapiError('INTERNAL_ERROR', [`no hypervisor at ${socketPath}: ${messageOf(error)}`], error);
  });
  const connection = speak(socket, socketPath);
  try {
    const { result } = await connection.call('attach', { role });
    return { ...connection, ...result };
  } catch (error) {
    await connection.close();
    throw error;
  }
}

type Connection = Omit<HypervisorClient, 'instance' | 'pid'>;

/** Requests, answers and notifications on a connected socket. */
function speak(socket: net.Socket, socketPath: string): Connection {
  const pending = new Map<number, Pending>();
  const listeners: ((notification: HypervisorNotification) => void)[] = [];
  const decode = createFrameDecoder();
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  let lastId = 0;
  let reason = 'closed';

  const receive = ({ text, binary }: Frame): void => {
    const message = JSON.parse(text) as Message;
    if (message.event !== undefined) {
      for (const listener of listeners) listener(message as unknown as HypervisorNotification);
      return;
    }
    const waiting = pending.get(message.id ?? 0);
    pending.delete(message.id ?? 0);
    if (message.error !== undefined) waiting?.reject(errorOf(message.error));
    else waiting?.resolve({ result: message.result, binary });
  };
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const frame of decode(chunk)) receive(frame);
    } catch (error) {
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  });
  socket.on('error', (error) => {
    reason = error.message;
  });
  void closed.then(() => {
    for (const { reject } of pending.values()) reject(lost(socketPath, reason));
    pending.clear();
  });

  return {
    call: (op, args, binary) =>
      new Promise((resolve, reject) => {
        if (socket.destroyed) throw lost(socketPath, reason);
        const parts = encodeFrame({ id: ++lastId, op, args }, binary);
        pending.set(lastId, { resolve: resolve as Pending['resolve'], reject });
        for (const part of parts) socket.write(part);
      }),
    onNotification: (listener) => void listeners.push(listener),
    onClose: (listener) => void closed.then(listener),
    close: async () => {
      socket.destroy();
      await closed;
    },
  };
}

function lost(socketPath: string, reason: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`the connection to the hypervisor at ${socketPath} is lost: ${reason}`]);
}

function errorOf({ code, params }: { code: string; params: readonly string[] }): XapiError {
  return isErrorCode(code) ? new XapiError(code, params) : new XapiError('INTERNAL_ERROR', [code, ...params]);
}
