/** Which state of a database outlives a loss of power, and since which start of the machine. */
import { closeSync, fsyncSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { flushedMark, statesBytes } from './pages.js';

/**
 * Have the newest state of a database outlive a loss of power, as an earlier process may have been killed before it was flushed. LMDB's
 * binding (3.5.6) takes the newest state as flushed when it opens a database (`me_synced_txn_id`), so that its next commit may write
 * over pages of the state that was flushed last, which is the one that a loss of power would bring back.
 * @param file that nobody writes to, and whose pages are whole
 * @throws Error of the file system
 */
export function flushNewestState(file: string): void {
  const fd = openSync(file, 'r+');
  try {
    const bytes = Buffer.alloc(statesBytes);
    const length = readSync(fd, bytes, 0, statesBytes, 0);
    const mark = flushedMark(bytes.subarray(0, length), bootId());
    if (mark === undefined) return;
    fsyncSync(fd);
    writeSync(fd, mark.bytes, 0, mark.bytes.length, mark.at);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Of the machine's last start, as LMDB's binding has it: the first group of its digits; 0 where there is none. */
export function bootId(): number {
  try {
    return Number.parseInt(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'), 16);
  } catch {
    return 0;
  }
}
