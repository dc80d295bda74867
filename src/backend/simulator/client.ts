/** A client of the simulated hypervisor: requests and notifications over its Unix socket, for the daemon and its helpers. */
import { once } from 'node:events';
import net from 'node:net';
import { within } from '../../base/deadline.js';
import { isErrorCode, messageOf, XapiError } from '../../base/errors.js';
import {
  createFrameDecoder,
  encodeFrame,
  type Frame,
  type HypervisorNotification,
  type HypervisorOp,
  type HypervisorOps,
} from '../../base/protocol/hypervisor-protocol.js';

export interface HypervisorClient {
  /** The instance that it is attached to; another one is another hypervisor, without the domains of the first. */
  readonly instance: string;
  /** The hypervisor's process id. */
  readonly pid: number;
  /**
   * One request. `binary` goes with it, the answer's binary part comes with the result (empty when it has none).
   * @throws the error that the hypervisor answered, or INTERNAL_ERROR when the connection is lost, or when no answer came in
   *   time: the request may have its effect all the same, and those after it have theirs later
   */
  call<O extends HypervisorOp>(
    op: O,
    args: HypervisorOps[O]['args'],
    options?: CallOptions<HypervisorOps[O]['result']>,
  ): Promise<{ result: HypervisorOps[O]['result']; binary: Buffer }>;
  onNotification(listener: (notification: HypervisorNotification) => void): void;
  /** Called once when the connection has ended, whoever ended it. */
  onClose(listener: () => void): void;
  /** Ends the connection; requests that wait for an answer fail. */
  close(): Promise<void>;
}

export interface CallOptions<R> {
  readonly binary?: Uint8Array;
  /** How long to wait for the answer, in milliseconds; what is usual on the connection where absent. */
  readonly timeoutMs?: number;
  /** Gets the result when it comes after nobody waits for it any more; where absent it is dropped. */
  onLate?(result: R): void;
}

/** How long a request may take, in milliseconds; undefined for as long as the connection lasts. */
export type RequestTimeouts = (op: HypervisorOp) => number | undefined;

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
 * @throws INTERNAL_ERROR when nobody listens there, or does not answer in time
 */
export async function connectHypervisor(
  socketPath: string,
  role: 'daemon' | 'helper',
  timeouts: RequestTimeouts = () => undefined,
): Promise<HypervisorClient> {
  const socket = net.connect(socketPath);
  await once(socket, 'connect').catch((error: unknown) => {
    throw new XapiError('INTERNAL_ERROR', [`no hypervisor at ${socketPath}: ${messageOf(error)}`], error);
  });
  const connection = speak(socket, socketPath, timeouts);
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
function speak(socket: net.Socket, socketPath: string, timeouts: RequestTimeouts): Connection {
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
    async call<O extends HypervisorOp>(op: O, args: HypervisorOps[O]['args'], options: CallOptions<unknown> = {}) {
      if (socket.destroyed) throw lost(socketPath, reason);
      const { binary, timeoutMs = timeouts(op), onLate } = options;
      const id = ++lastId;
      const parts = encodeFrame({ id, op, args }, binary);
      const answer = new Promise<{ result: unknown; binary: Buffer }>((resolve, reject) => {
        pending.set(id, { resolve, reject });
      });
      for (const part of parts) socket.write(part);
      const inTime =
        timeoutMs === undefined ? answer : within(answer, timeoutMs, `no answer of the hypervisor to ${op}`, late);
      function late(): void {
        if (onLate === undefined) pending.delete(id);
        answer.then(
          ({ result }) => onLate?.(result),
          () => undefined,
        );
      }
      return inTime as Promise<{ result: HypervisorOps[O]['result']; binary: Buffer }>;
    },
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
