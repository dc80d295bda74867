/** QEMU's socket of a migration, which it connects to or listens on, as bytes. */
import fs from 'node:fs';
import net from 'node:net';
import { recordBytes } from '../../wire/stream/qemu-stream.js';

/** What does not fill a record waits no longer than this, in milliseconds: it is downtime in the last round. */
const fillMs = 5;

export interface OutgoingSocket {
  /** Where QEMU is told to connect to. */
  readonly uri: string;
  /** Resolves when QEMU has connected. */
  readonly connected: Promise<void>;
  /** Called with each piece of at most `recordBytes`; the next is read when it resolves. Resolves at the end of the stream. */
  pump(take: (piece: Buffer) => Promise<void>): Promise<void>;
  /** Break the connection: QEMU fails its migration by that, and its guest goes on. */
  destroy(): void;
}

/** Listen on a path for QEMU's migration. @param path of at most 107 bytes, in a directory that only the domain's user enters */
export async function listenForQemu(path: string): Promise<OutgoingSocket> {
  fs.rmSync(path, { force: true });
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true });
  let socket: net.Socket | undefined;
  let isDestroyed = false;
  const connected = new Promise<void>((resolve) => {
    server.once('connection', (made) => {
      server.close();
      socket = made;
      made.on('error', () => undefined);
      if (isDestroyed) made.destroy();
      resolve();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  // QEMU may run as another user; the directory is what keeps others out.
  fs.chmodSync(path, 0o666);
  return {
    uri: `unix:${path}`,
    connected,
    async pump(take) {
      await connected;
      fs.rmSync(path, { force: true });
      await readPieces(socket as net.Socket, take);
    },
    destroy() {
      isDestroyed = true;
      server.close();
      socket?.destroy();
      fs.rmSync(path, { force: true });
    },
  };
}

/** Gather what comes into pieces, as large as what comes within a moment. */
async function readPieces(socket: net.Socket, take: (piece: Buffer) => Promise<void>): Promise<void> {
  let gathered: Buffer[] = [];
  let size = 0;
  let isEnded = false;
  let failure: Error | undefined;
  let wake = () => {};
  socket.on('data', (chunk: Buffer) => {
    gathered.push(chunk);
    size += chunk.length;
    if (size >= recordBytes) socket.pause();
    wake();
  });
  socket.on('end', () => {
    isEnded = true;
    wake();
  });
  socket.on('close', () => {
    if (!isEnded) failure ??= new Error('QEMU has closed its connection');
    wake();
  });
  socket.resume();
  for (;;) {
    if (size < recordBytes && !isEnded && failure === undefined) {
      await new Promise<void>((resolve) => {
        wake = size === 0 ? resolve : () => (size >= recordBytes || isEnded || failure !== undefined) && resolve();
        if (size > 0) setTimeout(resolve, fillMs);
      });
    }
    if (failure !== undefined) throw failure;
    const bytes = Buffer.concat(gathered);
    const piece = bytes.subarray(0, recordBytes);
    gathered = bytes.length > piece.length ? [bytes.subarray(recordBytes)] : [];
    size = bytes.length - piece.length;
    if (size < recordBytes) socket.resume();
    if (piece.length > 0) await take(piece);
    else if (isEnded) return;
  }
}

/** Connect to the socket on which QEMU listens for what comes, and which goes at once. */
export async function connectToQemu(path: string): Promise<net.Socket> {
  const socket = net.connect({ path, allowHalfOpen: true });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  fs.rmSync(path, { force: true });
  return socket;
}
