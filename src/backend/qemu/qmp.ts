/**
 * A connection to the machine protocol (QMP) of one QEMU process: commands with their answers, and events.
 *
 * Every command has a deadline: while the peer of a migration stalls in its last round QEMU answers nothing, `migrate_cancel`
 * included. One client at a time is served on a socket; commands that a client left unanswered are dropped with its connection.
 */
import net from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { within } from '../../base/deadline.js';
import { messageOf, XapiError } from '../../base/errors.js';

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface QmpOptions {
  /** How long QEMU may take to answer, in milliseconds. */
  readonly timeoutMs?: number;
}

export interface Qmp {
  /**
   * Execute one command.
   * @returns its `return`, as QEMU gives it
   * @throws INTERNAL_ERROR with what QEMU answers, where no answer comes in time, or where the connection ends first
   */
  execute<T = unknown>(command: string, args?: Readonly<Record<string, unknown>>, options?: QmpOptions): Promise<T>;
  /**
   * Wait for an event; of those that came since the connection was made the newest of each name counts, and no other is kept.
   * @throws INTERNAL_ERROR where the connection ends before one comes
   */
  event(accepts: (event: QmpEvent) => boolean): Promise<QmpEvent>;
  /** Called with every event from now on. */
  onEvent(listener: (event: QmpEvent) => void): void;
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;
  close(): void;
}

interface Message {
  readonly QMP?: unknown;
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly event?: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

const answerTimeoutMs = 10_000;
const retryMs = 20;
const ended = 'the connection has ended';

/**
 * Connect to the socket of a QEMU, which may still be about to make it, and begin.
 * @param timeoutMs how long QEMU may take until it serves
 * @param signal ends the waiting, as when the process has ended
 * @throws INTERNAL_ERROR where it does not serve in time; the signal's reason
 */
export async function connectQmp(path: string, timeoutMs: number, signal?: AbortSignal): Promise<Qmp> {
  const socket = await connected(path, performance.now() + timeoutMs, signal);
  const qmp = speak(socket);
  try {
    await within(qmp.greeted, timeoutMs, `no greeting of QEMU on ${path}`);
    await qmp.execute('qmp_capabilities');
    return qmp;
  } catch (error) {
    qmp.close();
    throw error;
  }
}

function speak(socket: net.Socket): Qmp & { readonly greeted: Promise<void> } {
  const answers = new Map<number, (message: Message) => void>();
  const newest = new Map<string, QmpEvent>();
  const listeners = new Set<(event: QmpEvent) => void>();
  let lastId = 0;
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => {
      for (const answer of answers.values()) answer({ error: { class: 'Closed', desc: ended } });
      resolve();
    });
  });
  socket.on('error', () => undefined);
  const take = (event: QmpEvent): void => {
    newest.set(event.event, event);
    for (const listener of [...listeners]) listener(event);
  };
  const greeted = new Promise<void>((resolve) => {
    const lines = createInterface({ input: socket });
    lines.on('error', () => undefined);
    lines.on('line', (line) => {
      const message = parse(line);
      if (message === undefined) socket.destroy();
      else if (message.QMP !== undefined) resolve();
      else if (message.event !== undefined) take({ event: message.event, data: message.data ?? {} });
      else if (message.id !== undefined) answers.get(message.id)?.(message);
    });
  });
  return {
    greeted,
    closed,
    execute<T>(command: string, args = {}, { timeoutMs = answerTimeoutMs }: QmpOptions = {}) {
      if (socket.destroyed) return Promise.reject(failed(command, ended));
      const id = ++lastId;
      const answer = new Promise<T>((resolve, reject) => {
        answers.set(id, ({ error, return: result }) => {
          if (error === undefined) resolve(result as T);
          else reject(failed(command, error.desc));
        });
      });
      socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
      return within(answer, timeoutMs, `QEMU: ${command}: no answer`).finally(() => answers.delete(id));
    },
    event(accepts) {
      const had = [...newest.values()].find(accepts);
      if (had !== undefined) return Promise.resolve(had);
      let listener: (event: QmpEvent) => void = () => undefined;
      const comes = new Promise<QmpEvent>((resolve) => {
        listener = (event) => void (accepts(event) && resolve(event));
        listeners.add(listener);
      });
      const never = closed.then((): never => {
        throw failed('an event', ended);
      });
      return Promise.race([comes, never]).finally(() => listeners.delete(listener));
    },
    onEvent: (listener) => void listeners.add(listener),
    close: () => void socket.destroy(),
  };
}

/** @returns undefined where it is no message of QMP */
function parse(line: string): Message | undefined {
  try {
    const message: unknown = JSON.parse(line);
    return typeof message === 'object' && message !== null ? (message as Message) : undefined;
  } catch {
    return undefined;
  }
}

async function connected(path: string, deadline: number, signal?: AbortSignal): Promise<net.Socket> {
  for (;;) {
    signal?.throwIfAborted();
    const socket = net.connect(path);
    const error = await new Promise<Error | undefined>((resolve) => {
      socket.once('connect', () => resolve(undefined));
      socket.once('error', resolve);
    });
    if (error === undefined) return socket;
    if (performance.now() > deadline) throw failed('connect', `nobody listens on ${path}: ${messageOf(error)}`);
    await delay(retryMs);
  }
}

function failed(command: string, why: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`QEMU: ${command}: ${why}`]);
}
