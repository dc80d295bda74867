/**
 * One process of a kind for a directory. The lock is a socket with an abstract name (unix(7)): only one process can hold it, and
 * the system lets go of it when that process dies, however it dies.
 */
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';

/** A name for a directory that is the same by every path to it. */
export function directoryKeyOf(directory: string): string {
  const { dev, ino } = fs.statSync(directory);
  return `${dev}-${ino}`;
}

/**
 * Take the lock for as long as this process lives.
 *
 * @param kind of process, e.g. `daemon`
 * @param directoryKey from `directoryKeyOf`
 * @returns whether it was free
 */
export async function takeLock(kind: string, directoryKey: string): Promise<boolean> {
  const server = net.createServer((socket) => socket.destroy()).unref();
  server.listen(`\0xenferry-${kind}-${directoryKey}`);
  try {
    await once(server, 'listening');
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  }
}
