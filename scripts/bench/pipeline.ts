/**
 * The yardsticks: the guest's memory from a file on a tmpfs through a TCP connection into another one, by two processes
 * and with no toolstack. `pipe` is zstd on both sides, by the command lines and at the priority with which the
 * toolstack runs it; `cat` copies, at normal priority, at which emu-manager runs.
 *
 * The receiver connects, by bash, from its host's place in the network; the sender gets the connection that was
 * accepted here.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FileHandle, open, rm } from 'node:fs/promises';
import net from 'node:net';
import { untilAborted } from '../../src/base/deadline.js';
import type { NetworkPlace } from '../../src/cli/local-pool/local-host.js';
import { adoptRaw, type RawSocket } from '../../src/wire/connection/raw-socket.js';
import { findZstd } from '../../src/wire/connection/zstd-pipe.js';
import { reapedSeconds } from './process-cpu.js';

export const yardsticks = ['pipe', 'cat'] as const;
export type Yardstick = (typeof yardsticks)[number];

export interface PipelineInit {
  /** File that is sent. */
  readonly image: string;
  /** File that the bytes go to, which is made anew. */
  readonly copy: string;
  /** Places of the sender and of the receiver. */
  readonly places: readonly [NetworkPlace, NetworkPlace];
  readonly signal: AbortSignal;
}

export interface PipelineUsed {
  /** Seconds from the start of the sender to the end of both. */
  readonly seconds: number;
  /** CPU seconds of both sides. */
  readonly cpuSeconds: number;
  readonly wireBytes: number;
}

/**
 * Send the image once.
 * @throws an Error with what either side said when it does not end well, and where there is no zstd
 */
export async function runPipeline(which: Yardstick, init: PipelineInit): Promise<PipelineUsed> {
  const { image, copy, places, signal } = init;
  const { send, receive } = await commandsOf(which);
  await rm(copy, { force: true });
  const cpuBefore = reapedSeconds();
  const children: Child[] = [];
  let source: FileHandle | undefined;
  try {
    const { raw, receiver } = await connect(places, receive, copy, signal);
    children.push(receiver);
    source = await open(image);
    const began = performance.now();
    const sender = follow(spawn(send[0] as string, send.slice(1), { stdio: [source.fd, raw.fd, 'pipe'] }), send);
    children.push(sender);
    raw.destroy();
    await untilAborted(Promise.all([sender.succeeded, receiver.succeeded]), signal);
    const seconds = (performance.now() - began) / 1000;
    const cpuSeconds = reapedSeconds() - cpuBefore;
    return { seconds, cpuSeconds, wireBytes: await wireBytesOf(which, source, sender.said()) };
  } finally {
    await source?.close();
    await Promise.all(children.map(({ stop }) => stop()));
  }
}

interface Commands {
  readonly send: readonly string[];
  readonly receive: readonly string[];
}

async function commandsOf(which: Yardstick): Promise<Commands> {
  if (which === 'cat') return { send: ['cat'], receive: ['cat'] };
  const { compress, decompress, standIn } = await findZstd('zstd');
  if (standIn) throw new Error('there is no program zstd: the bare pipeline, with which all is compared, needs it');
  // zeros need no memory at a migration's destination either.
  return { send: compress, receive: [...decompress, '--sparse'] };
}

/** Time in which the receiver connects, in milliseconds. */
const connectMs = 10_000;
/** Script of the receiver, with the arguments address, port, output and command. */
const receiverScript = 'exec < "/dev/tcp/$1/$2" > "$3"; shift 3; exec "$@"';

async function connect(
  [from, to]: PipelineInit['places'],
  command: readonly string[],
  copy: string,
  signal: AbortSignal,
): Promise<{ raw: RawSocket; receiver: Child }> {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, from.address);
  try {
    await once(server, 'listening');
    const connected = once(server, 'connection', { signal: AbortSignal.any([signal, AbortSignal.timeout(connectMs)]) });
    const { port } = server.address() as net.AddressInfo;
    const args = [from.address, String(port), copy, ...command];
    const line = [...to.enter, 'bash', '-c', receiverScript, 'bash', ...args];
    const receiver = follow(spawn(line[0] as string, line.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] }), line);
    try {
      const [socket] = (await Promise.race([connected, receiver.succeeded.then(() => connected)])) as [net.Socket];
      const { raw } = adoptRaw(socket);
      raw.setBlocking(true);
      return { raw, receiver };
    } catch (error) {
      await receiver.stop();
      throw error;
    }
  } finally {
    server.close();
  }
}

interface Child {
  /** Resolves when it has exited with 0. */
  readonly succeeded: Promise<void>;
  said(): string;
  stop(): Promise<void>;
}

function follow(child: ChildProcess, command: readonly string[]): Child {
  let said = '';
  let running = true;
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4096);
  });
  const ended = new Promise<void>((resolve, reject) => {
    const failed = (why: string) => reject(new Error(`${command.join(' ')}: ${why}${said && `: ${said.trim()}`}`));
    child.once('error', (error) => failed(error.message));
    child.once('exit', (status, by) => {
      running = false;
      if (status === 0) resolve();
      else failed(by ?? `exit status ${status}`);
    });
  });
  ended.catch(() => undefined);
  return {
    succeeded: ended,
    said: () => said,
    async stop() {
      if (running) child.kill('SIGKILL');
      await ended.catch(() => undefined);
    },
  };
}

async function wireBytesOf(which: Yardstick, source: FileHandle, said: string): Promise<number> {
  if (which === 'cat') return (await source.stat()).size;
  const bytes = /\d+ B => +(\d+)/.exec(said)?.[1];
  if (bytes === undefined) throw new Error(`zstd does not say how much it wrote: ${said}`);
  return Number(bytes);
}

/** Bytes of two files that are compared at a time. */
const compareBytes = 4 * 2 ** 20;

/**
 * Compare what came with what was sent.
 * @throws an Error when they differ
 */
export async function compareFiles(image: string, copy: string): Promise<void> {
  const files = await Promise.all([open(image), open(copy)]);
  const buffers = files.map(() => Buffer.alloc(compareBytes)) as [Buffer, Buffer];
  try {
    for (let at = 0; ; ) {
      const reads = files.map((file, i) => file.read(buffers[i] as Buffer, 0, compareBytes, at));
      const [one, other] = (await Promise.all(reads)).map(({ buffer, bytesRead }) => buffer.subarray(0, bytesRead));
      if (one === undefined || other === undefined || !one.equals(other))
        throw new Error(`${copy} is not what was sent`);
      if (one.length === 0) return;
      at += one.length;
    }
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}
