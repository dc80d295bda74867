/** A connection to a QEMU process, by its machine protocol (QMP): commands, and events that are waited for. */
import net from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

export interface Qmp {
  /**
   * One command.
   * @returns its `return`
   * @throws an Error with what QEMU answers, or that the connection has ended
   */
  execute<T = unknown>(command: string, args?: Readonly<Record<string, unknown>>): Promise<T>;
  /** Resolves when an event has come whose data is accepted; events from before the call count as well. */
  event(name: string, accepts: (data: Readonly<Record<string, unknown>>) => boolean): Promise<void>;
  close(): void;
}

interface Message {
  readonly QMP?: unknown;
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
  readonly event?: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** Time in which QEMU listens, in milliseconds. */
const connectMs = 15_000;

/** Connect to QEMU's socket, which it may still be about to make, and begin. */
export async function connectQmp(path: string, signal: AbortSignal): Promise<Qmp> {
  const socket = await connected(path, signal);
  const answers = new Map<number, (message: Message) => void>();
  const events: Message[] = [];
  const watchers = new Set<() => void>();
  let ended: Error | undefined;
  let lastId = 0;
  const lines = createInterface({ input: socket });
  // An error of the socket comes here too; its end tells all that counts.
  lines.on('error', () => undefined);
  lines.on('line', (line) => {
    const message = JSON.parse(line) as Message;
    if (message.event !== undefined) events.push(message);
    if (message.id !== undefined) answers.get(message.id)?.(message);
    for (const look of [...watchers]) look();
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    ended = new Error('the connection to QEMU has ended');
    for (const answer of answers.values()) answer({ error: { desc: ended.message } });
    for (const look of [...watchers]) look();
  });
  const qmp: Qmp = {
    execute<T>(command: string, args = {}) {
      if (ended !== undefined) return Promise.reject(ended);
      const id = ++lastId;
      return new Promise<T>((resolve, reject) => {
        answers.set(id, (message) => {
          answers.delete(id);
          if (message.error === undefined) resolve(message.return as T);
          else reject(new Error(`QEMU: ${command}: ${message.error.desc}`));
        });
        socket.write(`${JSON.stringify({ id, execute: command, arguments: args })}\n`);
      });
    },
    event: (name, accepts) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = events.some(({ event, data = {} }) => event === name && accepts(data));
          if (!found && ended === undefined) return;
          watchers.delete(look);
          if (found) resolve();
          else reject(ended);
        };
        watchers.add(look);
        look();
      }),
    close: () => void socket.destroy(),
  };
  await qmp.execute('qmp_capabilities');
  return qmp;
}

async function connected(path: string, signal: AbortSignal): Promise<net.Socket> {
  const limit = Date.now() + connectMs;
  for (;;) {
    signal.throwIfAborted();
    const socket = net.connect(path);
    const error = await new Promise<Error | undefined>((resolve) => {
      socket.once('connect', () => resolve(undefined));
      socket.once('error', resolve);
    });
    if (error === undefined) return socket;
    if (Date.now() > limit) throw new Error(`QEMU does not listen on ${path}: ${error.message}`);
    await delay(20);
  }
}
