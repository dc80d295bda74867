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

/** What an image is read from or written to: a connection, or a file in its place. */
export interface RawStream {
  /** Read exactly so many bytes. @throws the socket's error, an early end, or silence for longer than `timeoutMs` */
  read(bytes: number, timeoutMs?: number): Promise<Buffer>;
  /** Resolves when the peer has closed its side with nothing sent before. @throws when a byte comes instead, or silence */
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
  /** Read `least` bytes, and of what is behind them as much as comes with them, up to `most` in all. @throws as `read` */
  readSome(least: number, most: number, timeoutMs?: number): Promise<Buffer>;
  /** Give back what was read; it comes first again here, but not to a child that gets the descriptor. */
  unread(bytes: Buffer): void;
  /**
   * Everything that comes goes to `take`, one piece when the one before is dealt with; nothing else reads then. For whoever
   * passes the bytes on. Resolves at the end. @throws the socket's error, or what `take` throws
   */
  flow(take: (bytes: Uint8Array) => Promise<void>): Promise<void>;
  /** Nothing more will be written: the peer sees the end, and we go on reading. Not where a child holds a copy. */
  end(): Promise<void>;
  /** Close with a reset in place of an end, where the connection is TCP. */
  reset(): void;
  /** The connection in another object. To this one there is no more than `destroy` and `closed`, and they are its own. */
  handOver(): RawSocket;
}

interface Wanted {
  readonly buffer: Buffer;
  /** So many bytes are enough. */
  readonly least: number;
  filled: number;
  resolve(bytes: Buffer): void;
  reject(error: Error): void;
}

interface Waiting {
  resolve(): void;
  reject(error: Error): void;
}

interface Handle {
  readonly fd: number;
  setBlocking(blocking: boolean): number;
}

const nothing = Buffer.alloc(0);

const behindError = () => new XapiError('INTERNAL_ERROR', ['bytes behind the end of the stream']);
const endError = () => new XapiError('INTERNAL_ERROR', ['the peer closed the connection']);

interface OnRead {
  readonly buffer: () => Uint8Array;
  readonly callback: (count: number, bytes: Uint8Array) => boolean;
}

/**
 * Connect to a TCP port or a Unix socket.
 * @param keepAliveMs after so much silence TCP asks whether the other end is there. It asks ten times, a second apart: Node sets
 *   TCP_KEEPINTVL and TCP_KEEPCNT so. A connection without an answer fails; absent: nobody asks
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

/** The inode of an open socket, by which the system's tables name it; undefined where it is none, or the system does not tell. */
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

/** So much is read at once where bytes are passed on. */
const flowBytes = 64 * 1024;

/** The system counts in whole seconds. */
function tune(socket: net.Socket, keepAliveMs: number | undefined): void {
  socket.setNoDelay(true);
  if (keepAliveMs !== undefined) socket.setKeepAlive(true, Math.max(1_000, keepAliveMs));
}

function wrap(make: (onread: OnRead) => net.Socket): { raw: RawSocket; socket: net.Socket } {
  const idle = Buffer.alloc(1);
  let unread = nothing;
  let wanted: Wanted | undefined;
  let waitingForEnd: Waiting | undefined;
  let flowing: (Waiting & { take(bytes: Uint8Array): Promise<void> }) | undefined;
  let failure: Error | undefined;
  let ended = false;

  const socket = make({
    buffer: () => {
      if (flowing !== undefined) return Buffer.allocUnsafe(flowBytes);
      return wanted === undefined ? idle : wanted.buffer.subarray(wanted.filled);
    },
    callback: (count, bytes) => {
      if (flowing !== undefined) {
        flowing.take(bytes.subarray(0, count)).then(() => socket.resume(), fail);
        return false;
      }
      if (wanted === undefined) {
        fail(behindError());
        return false;
      }
      if (bytes === idle) wanted.buffer[wanted.filled] = idle[0] as number;
      wanted.filled += count;
      if (wanted.filled < wanted.least) return true;
      const done = wanted;
      wanted = undefined;
      done.resolve(done.buffer.subarray(0, done.filled));
      return false;
    },
  });
  // Before anything comes: a socket begins to read by itself.
  socket.pause();
  function fail(error: Error): void {
    failure ??= error;
    for (const waiting of [wanted, waitingForEnd, flowing]) waiting?.reject(failure);
    wanted = undefined;
    waitingForEnd = undefined;
  }
  socket.on('error', fail);
  socket.on('end', () => {
    ended = true;
    for (const waiting of [waitingForEnd, flowing]) waiting?.resolve();
    waitingForEnd = undefined;
    fail(endError());
  });
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  closed.then(() => fail(new XapiError('INTERNAL_ERROR', ['the connection is closed'])));
  const handleOf = () => (socket as unknown as { _handle: Handle | null })._handle;

  const raw: RawSocket = {
    closed,
    get fd() {
      return handleOf()?.fd ?? -1;
    },
    setBlocking(blocking) {
      handleOf()?.setBlocking(blocking);
    },
    read: (bytes, timeoutMs) => raw.readSome(bytes, bytes, timeoutMs),
    readSome(least, most, timeoutMs) {
      if (unread.length >= least) {
        const first = unread.subarray(0, most);
        unread = unread.subarray(first.length);
        return Promise.resolve(first);
      }
      if (failure !== undefined) return Promise.reject(failure);
      const buffer = Buffer.allocUnsafe(most);
      const filled = unread.copy(buffer);
      unread = nothing;
      const read = new Promise<Buffer>((resolve, reject) => {
        wanted = { buffer, least, filled, resolve, reject };
      });
      socket.resume();
      return timeoutMs === undefined
        ? read
        : within(read, timeoutMs, 'no answer from the peer', () => socket.destroy());
    },
    unread(bytes) {
      unread = Buffer.concat([bytes, unread]);
    },
    readEnd(timeoutMs) {
      if (unread.length > 0) return Promise.reject(behindError());
      if (ended) return Promise.resolve();
      if (failure !== undefined) return Promise.reject(failure);
      const end = new Promise<void>((resolve, reject) => {
        waitingForEnd = { resolve, reject };
      });
      socket.resume();
      return timeoutMs === undefined ? end : within(end, timeoutMs, 'no end of the stream', () => socket.destroy());
    },
    write(bytes) {
      return new Promise((resolve, reject) => {
        if (socket.destroyed) reject(failure ?? endError());
        else socket.write(bytes, (error) => (error ? reject(error) : resolve()));
      });
    },
    async flow(take) {
      const first = unread;
      unread = nothing;
      if (first.length > 0) await take(first);
      if (failure !== undefined) throw failure;
      const end = new Promise<void>((resolve, reject) => {
        flowing = { take, resolve, reject };
      });
      socket.resume();
      return end;
    },
    end() {
      return new Promise((resolve, reject) => {
        socket.once('close', () => reject(failure ?? endError()));
        socket.end((error?: Error) => (error ? reject(error) : resolve()));
      });
    },
    destroy() {
      socket.destroy();
    },
    reset() {
      socket.resetAndDestroy();
    },
    handOver() {
      const handle = takeHandle(socket);
      const other = wrap(
        (onread) => new net.Socket({ handle, onread, allowHalfOpen: true } as net.SocketConstructorOpts),
      );
      other.raw.unread(unread);
      unread = nothing;
      return other.raw;
    },
  };
  return { raw, socket };
}
