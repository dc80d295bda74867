/**
 * A connection from which exactly the bytes asked for are read, so that whatever comes behind them is still in the kernel and
 * can be read by a child that gets the descriptor.
 *
 * A socket that Node reads in the usual way takes up to 64 KiB ahead, even when paused. With `onread` the socket fills a
 * buffer that is given beforehand: here one of a single byte while nothing is being read (the first byte of the next read
 * lands there), and then one of just the bytes still wanted. After the last of them the callback stops the reading.
 */
import { readlinkSync } from 'node:fs';
import net from 'node:net';
import { within } from '../../base/deadline.js';
import { XapiError } from '../../base/errors.js';
import { StreamError } from '../../base/stream-error.js';

/** Stream that an image is read from or written to: a connection, or a file in its place. */
export interface RawStream {
  /**
   * Read exactly so many bytes.
   * @throws the socket's error, an early end, or silence for longer than `timeoutMs`
   */
  read(bytes: number, timeoutMs?: number): Promise<Buffer>;
  /**
   * Resolves when the peer has closed its side with nothing sent before.
   * @throws when a byte comes instead, or silence
   */
  readEnd(timeoutMs?: number): Promise<void>;
  /** Resolves when the kernel has taken the bytes. */
  write(bytes: Uint8Array): Promise<void>;
  /**
   * The descriptor, for a child. Blocking mode belongs to the open file, which the child then shares: set it just before the
   * spawn, and clear it when the child has exited and reading goes on here.
   */
  readonly fd: number;
  setBlocking(blocking: boolean): void;
  /** Close our copy, without a word to the peer if a child holds another. */
  destroy(): void;
  /** Resolves when our copy is closed, for whatever reason. */
  readonly closed: Promise<void>;
}

export interface RawSocket extends RawStream {
  /**
   * Read `least` bytes, and of what is behind them as much as comes with them, up to `most` in all.
   * @throws as `read`
   */
  readSome(least: number, most: number, timeoutMs?: number): Promise<Buffer>;
  /** Give back what was read; it comes first again here, but not to a child that gets the descriptor. */
  unread(bytes: Buffer): void;
  /**
   * Everything that comes goes to `take`, one piece when the one before is dealt with; nothing else reads then. For
   * whoever passes the bytes on. Resolves at the end.
   * @throws the socket's error, or what `take` throws
   */
  flow(take: (bytes: Uint8Array) => Promise<void>): Promise<void>;
  /** Write nothing more: the peer sees the end, and reading goes on here. Not where a child holds a copy. */
  end(): Promise<void>;
  /** Close with a reset in place of an end, where the connection is TCP. */
  reset(): void;
  /**
   * The connection in another object. To this one there is no more than `destroy` and `closed`, and they are its own.
   */
  handOver(): RawSocket;
}

/** A read that waits for its bytes. */
interface Wanted {
  readonly buffer: Buffer;
  /** Bytes that are enough. */
  readonly least: number;
  filled: number;
  resolve(bytes: Buffer): void;
  reject(error: Error): void;
}

interface Waiting {
  resolve(): void;
  reject(error: Error): void;
}

/** Reads of a connection: what waits, and what is kept for the next one. */
interface Intake {
  /** Has the first byte that comes while nothing reads. */
  readonly idle: Buffer;
  /** Bytes that were given back; they come before what is still to be received. */
  unread: Buffer;
  wanted: Wanted | undefined;
  waitingForEnd: Waiting | undefined;
  flowing: (Waiting & { take(bytes: Uint8Array): Promise<void> }) | undefined;
  /** Why nothing more can be read or written. */
  failure: Error | undefined;
  /** Whether the peer has closed its side. */
  ended: boolean;
}

interface Handle {
  readonly fd: number;
  setBlocking(blocking: boolean): number;
}

const nothing = Buffer.alloc(0);

const behindError = () => new XapiError('INTERNAL_ERROR', ['bytes behind the end of the stream']);
const endError = () => new StreamError('broken-stream', 'the peer closed the connection');

interface OnRead {
  readonly buffer: () => Uint8Array;
  readonly callback: (count: number, bytes: Uint8Array) => boolean;
}

/**
 * Connect to a TCP port or a Unix socket.
 * @param keepAliveMs after so much silence TCP asks whether the other end is there. It asks ten times, a second apart:
 *   Node sets TCP_KEEPINTVL and TCP_KEEPCNT so. A connection without an answer fails; absent: nobody asks
 */
export async function connectRaw(
  to: net.TcpNetConnectOpts | net.IpcNetConnectOpts,
  timeoutMs = 10_000,
  keepAliveMs?: number,
): Promise<RawSocket> {
  const { raw, socket } = wrap((onread) => net.connect({ ...to, onread, allowHalfOpen: true } as net.NetConnectOpts));
  const connected = new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  await within(connected, timeoutMs, 'no connection', () => socket.destroy());
  tune(socket, keepAliveMs);
  return raw;
}

/**
 * Take over a socket that a server accepted with `pauseOnConnect`, of which nothing was read yet.
 *
 * @param keepAliveMs see connectRaw
 * @returns the raw socket, and `release`, which gives the connection back as an ordinary socket with the given bytes, already
 *   read, put in front
 */
export function adoptRaw(
  accepted: net.Socket,
  keepAliveMs?: number,
): { raw: RawSocket; release: (read: Buffer) => net.Socket } {
  const handle = takeHandle(accepted);
  const { raw, socket } = wrap(
    (onread) => new net.Socket({ handle, onread, allowHalfOpen: true } as net.SocketConstructorOpts),
  );
  tune(socket, keepAliveMs);
  const settle = () => accepted.destroy();
  socket.once('close', settle);
  const release = (read: Buffer) => {
    socket.off('close', settle);
    const ordinary = new net.Socket({ handle: takeHandle(socket), allowHalfOpen: true } as net.SocketConstructorOpts);
    ordinary.once('close', settle);
    ordinary.unshift(read);
    return ordinary;
  };
  return { raw, release };
}

/**
 * The inode of an open socket, by which the system's tables name it; undefined where it is none, or the system does not
 * tell.
 */
export function socketInode(fd: number): string | undefined {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1];
  } catch {
    return undefined;
  }
}

function takeHandle(socket: net.Socket): unknown {
  const holder = socket as unknown as { _handle: unknown };
  const handle = holder._handle;
  holder._handle = null;
  return handle;
}

/** Bytes that are read at once where they are passed on. */
const flowBytes = 64 * 1024;

/** The system counts in whole seconds. */
function tune(socket: net.Socket, keepAliveMs: number | undefined): void {
  socket.setNoDelay(true);
  if (keepAliveMs !== undefined) socket.setKeepAlive(true, Math.max(1_000, keepAliveMs));
}

/** @param make makes the socket, which is to hand over what it reads as it is told */
function wrap(make: (onread: OnRead) => net.Socket): { raw: RawSocket; socket: net.Socket } {
  const intake: Intake = {
    idle: Buffer.alloc(1),
    unread: nothing,
    wanted: undefined,
    waitingForEnd: undefined,
    flowing: undefined,
    failure: undefined,
    ended: false,
  };
  const socket: net.Socket = make({
    buffer: () => bufferFor(intake),
    callback: (count, bytes) => receive(intake, count, bytes, () => socket.resume()),
  });
  // Before anything comes: a socket begins to read by itself.
  socket.pause();
  const closed = watch(socket, intake);
  const handleOf = () => (socket as unknown as { _handle: Handle | null })._handle;
  const raw: RawSocket = {
    closed,
    get fd() {
      return handleOf()?.fd ?? -1;
    },
    setBlocking: (blocking) => void handleOf()?.setBlocking(blocking),
    read: (bytes, timeoutMs) => readSome(socket, intake, { least: bytes, most: bytes, timeoutMs }),
    readSome: (least, most, timeoutMs) => readSome(socket, intake, { least, most, timeoutMs }),
    unread(bytes) {
      intake.unread = Buffer.concat([bytes, intake.unread]);
    },
    readEnd: (timeoutMs) => readEnd(socket, intake, timeoutMs),
    write: (bytes) => write(socket, intake, bytes),
    flow: (take) => flow(socket, intake, take),
    end: () => end(socket, intake),
    destroy: () => void socket.destroy(),
    reset: () => void socket.resetAndDestroy(),
    handOver: () => handOver(socket, intake),
  };
  return { raw, socket };
}

/** Give the buffer for the next bytes. */
function bufferFor({ flowing, wanted, idle }: Intake): Uint8Array {
  if (flowing !== undefined) return Buffer.allocUnsafe(flowBytes);
  return wanted === undefined ? idle : wanted.buffer.subarray(wanted.filled);
}

/**
 * Take what has come into a buffer.
 * @param count bytes that have come
 * @param resume reads on later
 * @returns whether to read on at once
 */
function receive(intake: Intake, count: number, buffer: Uint8Array, resume: () => void): boolean {
  const { idle, wanted, flowing } = intake;
  if (flowing !== undefined) {
    flowing.take(buffer.subarray(0, count)).then(resume, (error: Error) => fail(intake, error));
    return false;
  }
  if (wanted === undefined) {
    fail(intake, behindError());
    return false;
  }
  if (buffer === idle) wanted.buffer[wanted.filled] = idle[0] as number;
  wanted.filled += count;
  if (wanted.filled < wanted.least) return true;
  intake.wanted = undefined;
  wanted.resolve(wanted.buffer.subarray(0, wanted.filled));
  return false;
}

/** The first failure stays, and ends whatever waits. */
function fail(intake: Intake, error: Error): void {
  intake.failure ??= error;
  for (const waiting of [intake.wanted, intake.waitingForEnd, intake.flowing]) waiting?.reject(intake.failure);
  intake.wanted = undefined;
  intake.waitingForEnd = undefined;
}

/** @returns resolves when the socket is closed */
function watch(socket: net.Socket, intake: Intake): Promise<void> {
  socket.on('error', (error) => fail(intake, error));
  socket.on('end', () => {
    intake.ended = true;
    for (const waiting of [intake.waitingForEnd, intake.flowing]) waiting?.resolve();
    intake.waitingForEnd = undefined;
    fail(intake, endError());
  });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  closed.then(() => fail(intake, new StreamError('broken-stream', 'the connection is closed')));
  return closed;
}

function readSome(
  socket: net.Socket,
  intake: Intake,
  { least, most, timeoutMs }: { least: number; most: number; timeoutMs: number | undefined },
): Promise<Buffer> {
  if (intake.unread.length >= least) {
    const first = intake.unread.subarray(0, most);
    intake.unread = intake.unread.subarray(first.length);
    return Promise.resolve(first);
  }
  if (intake.failure !== undefined) return Promise.reject(intake.failure);
  const buffer = Buffer.allocUnsafe(most);
  const filled = intake.unread.copy(buffer);
  intake.unread = nothing;
  const read = new Promise<Buffer>((resolve, reject) => {
    intake.wanted = { buffer, least, filled, resolve, reject };
  });
  socket.resume();
  return timeoutMs === undefined ? read : within(read, timeoutMs, 'no answer from the peer', () => socket.destroy());
}

function readEnd(socket: net.Socket, intake: Intake, timeoutMs: number | undefined): Promise<void> {
  if (intake.unread.length > 0) return Promise.reject(behindError());
  if (intake.ended) return Promise.resolve();
  if (intake.failure !== undefined) return Promise.reject(intake.failure);
  const end = new Promise<void>((resolve, reject) => {
    intake.waitingForEnd = { resolve, reject };
  });
  socket.resume();
  return timeoutMs === undefined ? end : within(end, timeoutMs, 'no end of the stream', () => socket.destroy());
}

function write(socket: net.Socket, { failure }: Intake, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    if (socket.destroyed) reject(failure ?? endError());
    else socket.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

async function flow(socket: net.Socket, intake: Intake, take: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  const first = intake.unread;
  intake.unread = nothing;
  if (first.length > 0) await take(first);
  if (intake.failure !== undefined) throw intake.failure;
  const end = new Promise<void>((resolve, reject) => {
    intake.flowing = { take, resolve, reject };
  });
  socket.resume();
  return end;
}

function end(socket: net.Socket, intake: Intake): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('close', () => reject(intake.failure ?? endError()));
    socket.end((error?: Error) => (error ? reject(error) : resolve()));
  });
}

function handOver(socket: net.Socket, intake: Intake): RawSocket {
  const handle = takeHandle(socket);
  const { raw } = wrap(
    (onread) => new net.Socket({ handle, onread, allowHalfOpen: true } as net.SocketConstructorOpts),
  );
  raw.unread(intake.unread);
  intake.unread = nothing;
  return raw;
}
