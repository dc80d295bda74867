/**
 * The handshakes of a migration: at a synchronisation point one side sends, the other receives, a big-endian 16-bit length: 0
 * is Success, otherwise an Error of that many bytes of UTF-8 (xapi).
 */
import type { RawSocket } from './raw-socket.js';

const maxErrorBytes = 0xffff;

/** The peer reported an error in place of Success; the message is its own. */
export class PeerError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PeerError';
  }
}

/** Two zero bytes. */
export function encodeSuccess(): Buffer {
  return Buffer.alloc(2);
}

/**
 * An Error is never empty (an empty one would read as Success) and is cut to at most 65535 bytes at a character boundary.
 */
export function encodeError(message: string): Buffer {
  const text = cutUtf8(Buffer.from(message === '' ? 'unspecified error' : message, 'utf8'), maxErrorBytes);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(text.length);
  return Buffer.concat([length, text]);
}

/** The bytes cut to at most `limit`, not inside a character. */
export function cutUtf8(text: Buffer, limit: number): Buffer {
  if (text.length <= limit) return text;
  let end = limit;
  while (end > 0 && ((text[end] as number) & 0xc0) === 0x80) end -= 1;
  return text.subarray(0, end);
}

/**
 * Wait for the peer at a synchronisation point.
 *
 * @throws PeerError with the peer's message; the connection's end; or silence for `timeoutMs`, where that is given
 */
export async function recvHandshake(from: Pick<RawSocket, 'read'>, timeoutMs?: number): Promise<void> {
  const length = (await from.read(2, timeoutMs)).readUInt16BE();
  if (length === 0) return;
  throw new PeerError((await from.read(length, timeoutMs)).toString('utf8'));
}

/** Tell the peer that this side has reached a synchronisation point. */
export async function sendSuccess(to: Pick<RawSocket, 'write'>): Promise<void> {
  await to.write(encodeSuccess());
}

/** Tell the peer that this side has failed. Best effort: a peer that is gone knows. */
export async function sendError(to: Pick<RawSocket, 'write'>, message: string): Promise<void> {
  await to.write(encodeError(message)).catch(() => undefined);
}
