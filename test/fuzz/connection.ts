/** One connection of the fuzzer, as bytes: no client library would send these. */
import { once } from 'node:events';
import net from 'node:net';
import { chop } from '../support/chopped.js';
import type { FuzzRequest } from './requests.js';

/** A client that waits for no more after so long: an answer has come, or the server waits for the rest. */
const silenceMs = 150;

/** Send it, and read until the server has nothing more to say or closes. @throws when no connection comes about */
export async function exchange(port: number, { bytes, pieces, finish }: FuzzRequest): Promise<string> {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.setNoDelay(true);
  await once(socket, 'connect');
  const answer: Buffer[] = [];
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
    socket.once('end', () => socket.destroy());
    // What is sent to a server that has closed.
    socket.on('error', () => socket.destroy());
    socket.setTimeout(silenceMs, () => socket.destroy());
    socket.on('data', (chunk) => answer.push(chunk));
  });
  const size = Math.min(pieces, bytes.length);
  for (const piece of size === 0 ? [] : chop(bytes, Math.max(size, Math.ceil(bytes.length / 100)))) {
    if (!socket.writable) break;
    socket.write(piece);
    // Pieces of their own, not one that the system puts together again.
    if (pieces < bytes.length) await new Promise(setImmediate);
  }
  if (finish === 'end') socket.end();
  if (finish === 'reset') socket.resetAndDestroy();
  await closed;
  return Buffer.concat(answer).toString('latin1');
}
