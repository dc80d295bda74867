/** The hypervisor's log: lines in a file, as the hypervisor outlives the daemon at the other end of its standard streams. */
import fs from 'node:fs';
import { openLogFile } from '../base/named-file.js';

export interface Log {
  /** Append a line with the time; what cannot be written is lost. */
  write(line: string): void;
  /** Open the file anew, after it was rotated. */
  reopen(): void;
}

/** Open the log. @throws an Error when the file cannot be opened */
export function openLog(path: string): Log {
  let fd = openLogFile(path, 0o666);
  return {
    write: (line) => {
      try {
        fs.writeSync(fd, `${new Date().toISOString()} ${line}\n`);
      } catch {
        // A full disk must not end the hypervisor, and its guests with it.
      }
    },
    reopen: () => {
      const next = openLogFile(path, 0o666);
      fs.closeSync(fd);
      fd = next;
    },
  };
}
