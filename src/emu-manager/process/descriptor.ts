/**
 * Inherited descriptors as streams of bytes that are read exactly and never stall the event loop, so that `abort` is heard
 * while the peer stalls. (A thread with blocking descriptors would not do on Node: process.exit waits for the thread, and so
 * for the peer.) A regular file is read and written at once, as it cannot stall.
 */
import fs from 'node:fs';
import net from 'node:net';

export interface Source {
  /** Fill the buffer. @throws when the stream ends or fails before; one read at a time */
  readInto(buffer: Buffer): Promise<void>;
}

export interface Sink {
  /** Resolves when the system has taken all of the pieces, in order; they must not change before. */
  write(...pieces: readonly Buffer[]): Promise<void>;
  /** Bytes that the system has not taken yet. */
  waiting(): number;
  /** Bytes written so far, those that wait counted. */
  readonly written: number;
}

/** The part of a socket's handle that lets a read go straight into a given buffer. */
interface Handle {
  useUserBuffer(buffer: Buffer): void;
  readStart(): number;
  reading: boolean;
}

/** Read from a socket, a pipe or a file. */
export function openSource(fd: number): Source {
  return isFile(fd) ? fileSource(fd) : socketSource(fd);
}

/** Write to a socket, a pipe or a file. */
export function openSink(fd: number): Sink {
  return isFile(fd) ? fileSink(fd) : socketSink(fd);
}

function isFile(fd: number): boolean {
  const stat = fs.fstatSync(fd);
  return !stat.isSocket() && !stat.isFIFO();
}

function socketSource(fd: number): Source {
  let target: Buffer = Buffer.alloc(1);
  let filled = 0;
  let pending: { resolve(): void; reject(error: Error): void } | undefined;
  let failure: Error | undefined;
  const fail = (error: Error) => {
    failure ??= error;
    pending?.reject(failure);
    pending = undefined;
  };
  const onread = {
    buffer: target,
    callback(bytes: number): boolean {
      filled += bytes;
      if (filled === target.length) {
        pending?.resolve();
        pending = undefined;
        return false;
      }
      handle.useUserBuffer(target.subarray(filled));
      return true;
    },
  };
  const socket = new net.Socket({ fd, onread, manualStart: true, allowHalfOpen: true } as net.SocketConstructorOpts);
  const handle = (socket as unknown as { _handle: Handle })._handle;
  socket.on('error', fail);
  socket.on('end', () => fail(new Error('the stream ended early')));
  return {
    readInto(buffer) {
      if (failure !== undefined) return Promise.reject(failure);
      if (buffer.length === 0) return Promise.resolve();
      return new Promise((resolve, reject) => {
        target = buffer;
        filled = 0;
        pending = { resolve, reject };
        handle.useUserBuffer(buffer);
        handle.reading = true;
        handle.readStart();
      });
    },
  };
}

function fileSource(fd: number): Source {
  return {
    async readInto(buffer) {
      for (let filled = 0; filled < buffer.length; ) {
        const count = fs.readSync(fd, buffer, filled, buffer.length - filled, null);
        if (count === 0) throw new Error('the stream ended early');
        filled += count;
      }
      await nextTurn();
    },
  };
}

function socketSink(fd: number): Sink {
  const socket = new net.Socket({ fd, readable: false, allowHalfOpen: true });
  let written = 0;
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure ??= error;
  });
  return {
    waiting: () => socket.writableLength,
    get written() {
      return written;
    },
    async write(...pieces) {
      if (failure !== undefined) throw failure;
      socket.cork();
      const taken = pieces.map((piece) => {
        written += piece.length;
        return new Promise<void>((resolve, reject) => {
          socket.write(piece, (error) => (error ? reject(failure ?? error) : resolve()));
        });
      });
      socket.uncork();
      await Promise.all(taken);
    },
  };
}

function fileSink(fd: number): Sink {
  let written = 0;
  return {
    waiting: () => 0,
    get written() {
      return written;
    },
    async write(...pieces) {
      for (const piece of pieces) {
        for (let done = 0; done < piece.length; ) done += fs.writeSync(fd, piece, done, piece.length - done, null);
        written += piece.length;
      }
      await nextTurn();
    },
  };
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
