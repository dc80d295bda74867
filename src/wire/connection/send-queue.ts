/**
 * How much a TCP socket of this machine has taken that its peer has not acknowledged: a fast copy fills it with
 * megabytes, which a slow link carries long after they were written, and after whoever wrote them is gone. Linux tells
 * it in /proc/net/tcp (proc(5)).
 */
import fs from 'node:fs';

const tables = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];

/**
 * A function that gives the bytes, also when every holder of the socket has closed it and the system sends on.
 * @param inode of the socket, whichever process has it; the bytes are 0 where it is no TCP socket, or the system does not tell
 */
export function openSendQueue(inode: string | undefined): () => number {
  for (const table of inode === undefined ? [] : tables) {
    const line = linesWith(table, ` ${inode} `).find((fields) => fields[9] === inode);
    if (line === undefined) continue;
    // What nobody holds has no inode any more; its addresses are its own until the peer has all of it, or it is given up.
    const addresses = ` ${line[1]} ${line[2]} `;
    return () => Number.parseInt(linesWith(table, addresses)[0]?.[4] ?? '0', 16);
  }
  return () => 0;
}

/**
 * Fields of a line: its number, the addresses, the state, the queues in hexadecimal (sent:received), timers, uid,
 * timeout, the inode.
 */
function linesWith(table: string, text: string): string[][] {
  try {
    const lines = fs.readFileSync(table, 'latin1').split('\n');
    return lines.filter((line) => line.includes(text)).map((line) => line.trim().split(/\s+/));
  } catch {
    return [];
  }
}
