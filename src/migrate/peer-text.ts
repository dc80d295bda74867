/** What a peer says at a synchronisation point, in a length that logs, tasks and journals can bear. */
import { PeerError, recvHandshake } from '../wire/connection/handshake.js';
import type { RawSocket } from '../wire/connection/raw-socket.js';

/** An Error may be 64 KiB long; so many characters of it are kept. */
const longestText = 2000;

/** Wait for the peer's handshake. @throws PeerError with the peer's text, cut */
export async function hear(from: Pick<RawSocket, 'read'>): Promise<void> {
  await recvHandshake(from).catch((error: unknown) => {
    throw error instanceof PeerError ? new PeerError(shorten(error.message)) : error;
  });
}

/** A text as it goes into an error. */
export function shorten(text: string): string {
  return text.length <= longestText ? text : `${text.slice(0, longestText)}...`;
}
