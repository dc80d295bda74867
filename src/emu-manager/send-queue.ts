/**
 * How much a TCP socket of this machine has taken that its peer has not acknowledged: a fast copy fills it with megabytes, which a
 * slow link carries long after they were written. Linux tells it in /proc/net/tcp (proc(5)).
 */
import fs from 'node:fs';

const tables = ['/proc/self/net/tcp', '/proc/self/net/tcp6'];

/**
 * A function that gives the bytes.
 * @param inode of the socket, whichever process has it; the bytes are 0 where it is no TCP socket, or the system does not tell
 */
export function openSendQueue(inode: string): () => number {
  let table = tables.find((path) => readQueue(path, inode) !== undefined);
  return () => {
    if (table === undefined) return 0;
    const bytes = readQueue(table, inode);
    // A socket that has been closed is not looked for any more.
    if (bytes === undefined) table = undefined;
    return bytes ?? 0;
  };
}

/** A line has the addresses, the state, the queues in hexadecimal (sent:received), timers, uid, timeout, and the inode. */
function readQueue(path: string, inode: string): number | undefined {
  let text: string;
  try {
    text = fs.readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
  for (let at = text.indexOf(` ${inode} `); at !== -1; at = text.indexOf(` ${inode} `, at + 1)) {
    const fields = text
      .slice(text.lastIndexOf('\n', at) + 1, text.indexOf('\n', at))
      .trim()
      .split(/\s+/);
    if (fields[9] === inode) return Number.parseInt(fields[4]?.split(':')[0] ?? '', 16);
  }
  return undefined;
}
