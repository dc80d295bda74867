/** Guest memory as pages: exact reads and writes of a memory file. */
import fs from 'node:fs';
import { promisify } from 'node:util';
import { pageSize } from '../../base/domain.js';
import { XapiError } from '../../base/errors.js';
import { openOwnFile } from '../../base/own-file.js';

export interface GuestMemory {
  /** Fill a target of whole pages from page `pfn` on. */
  read(target: Buffer, pfn: number): void;
  /** Write whole pages from page `pfn` on. @throws HOST_NOT_ENOUGH_FREE_MEMORY when the file system is full */
  write(source: Buffer, pfn: number): void;
  /** Refuse reads and writes from now on. Resolves when the file is closed, in another thread, as that takes a while. */
  close(): Promise<void>;
}

const close = promisify(fs.close);

/** Open a memory file. */
export function openGuestMemory(path: string): GuestMemory {
  const fd = openOwnFile(path, fs.constants.O_RDWR);
  let open = true;
  const assertOpen = (): void => {
    if (!open) throw new XapiError('OPERATION_NOT_ALLOWED', ['the domain was destroyed meanwhile']);
  };
  return {
    read: (target, pfn) => {
      assertOpen();
      const count = fs.readSync(fd, target, 0, target.length, pfn * pageSize);
      if (count !== target.length)
        throw new XapiError('INTERNAL_ERROR', [`${path} is shorter than the domain's memory`]);
    },
    write: (source, pfn) => {
      assertOpen();
      try {
        for (let at = 0; at < source.length; ) {
          at += fs.writeSync(fd, source, at, source.length - at, pfn * pageSize + at);
        }
      } catch (error) {
        if (!isDiskFull(error)) throw error;
        throw new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', [String(source.length), '0'], error);
      }
    },
    close: () => {
      open = false;
      return close(fd);
    },
  };
}

/** Whether a write failed as the file system has no room, or no more for this user. */
export function isDiskFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'EFBIG'].includes((error as NodeJS.ErrnoException).code ?? '');
}
