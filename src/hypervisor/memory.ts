/**
 * The files that hold guest memory. Every byte that is promised, to a domain or to a reservation, is the length of a file, so what is
 * promised and not yet there can be seen by every hypervisor of this user that shares the file system: no memory is promised twice,
 * and what fits nowhere is refused before anything is written.
 *
 * A promise can be broken by others who fill the file system. So a domain is made only when all of its memory was written once, with
 * zeros: a tmpfs takes a page for each page that is written, and a disk a block, and nobody else can have those any more.
 *
 * To give written memory back takes the system a while. Until it has done so the file is there under another name, so that every
 * hypervisor can see that more is about to be free.
 */
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { messageOf, XapiError } from '../base/errors.js';
import { openOwnFile, statOwnFile } from '../base/own-file.js';
import { isDiskFull } from './guest/guest-memory.js';
import {
  list,
  type MemoryDirectory,
  mayLive,
  openMemoryDirectory,
  openMemoryDirectoryList,
} from './memory-directory.js';

/** A file that stands for promised memory. */
export interface MemoryFile {
  readonly path: string;
  readonly bytes: number;
}

export interface MemoryStore {
  readonly total: number;
  /** Bytes that are promised in all. */
  promised(): number;
  /** Promise memory: a sparse file of its own. @throws HOST_NOT_ENOUGH_FREE_MEMORY, with nothing left behind */
  promise(bytes: number): MemoryFile;
  /**
   * Take all of a promised memory from the system, as zeros. The promise stands however this ends.
   * @throws HOST_NOT_ENOUGH_FREE_MEMORY
   */
  allocate(file: MemoryFile): Promise<void>;
  /** End a promise of which nothing was written. */
  free(file: MemoryFile): void;
  /** End a promise at once, and give what was written back to the system. Resolves when it has that. */
  giveBack(file: MemoryFile): Promise<void>;
  /** Whether a hypervisor of this user that shares the directories is giving memory back. */
  isGivingBack(): boolean;
  /** Remove every file and directory of this store. */
  close(): void;
}

export interface MemoryStoreInit {
  /** Where files may go, best first. */
  readonly directories: readonly string[];
  /** Bytes that may be promised in all. */
  readonly total: number;
  readonly instance: string;
  /** The state directory, whose lock says that its earlier hypervisor is dead. */
  readonly stateDirectory: string;
  /** Bytes that are free on the file system of a directory. */
  freeBytes(directory: string): number;
  log(line: string): void;
}

const givingBack = '.freeing';

/** Open a store without promises, and remove the memory of dead hypervisors. @throws an Error where no directory can be used */
export function openMemoryStore({ log, ...init }: MemoryStoreInit): MemoryStore {
  const known = openMemoryDirectoryList(init.stateDirectory, log);
  const opened = init.directories.flatMap(
    (directory) => openMemoryDirectory(directory, { instance: init.instance, willMake: known.add, log }) ?? [],
  );
  const directories = [...new Map(opened.map((directory) => [directory.path, directory])).values()];
  if (directories.length === 0) throw new Error(`no directory for memory among ${init.directories.join(', ')}`);
  let promised = 0;
  let files = 0;
  const place = (directory: MemoryDirectory): string | undefined => {
    try {
      return directory.own();
    } catch (error) {
      log(`memory directory ${directory.path} is not used now: ${messageOf(error)}`);
      return undefined;
    }
  };
  // Make the directories now, so that they are found, and the log says what is in the way.
  for (const directory of directories) place(directory);
  return {
    total: init.total,
    promised: () => promised,
    promise: (bytes) => {
      let available = Math.max(0, init.total - promised);
      if (bytes > available) throw notEnough(bytes, available);
      available = 0;
      for (const directory of directories) {
        const own = place(directory);
        if (own === undefined) continue;
        const file = path.join(own, `${++files}.memory`);
        const left = promiseIn(file, bytes, () => spaceLeft(directories, directory, init.freeBytes));
        if (left >= 0) {
          promised += bytes;
          return { path: file, bytes };
        }
        available = Math.max(available, left + bytes);
      }
      throw notEnough(bytes, available);
    },
    allocate: writeZeros,
    free: (file) => {
      promised -= file.bytes;
      fs.rmSync(file.path, { force: true });
    },
    giveBack: async (file) => {
      promised -= file.bytes;
      const going = file.path + givingBack;
      fs.renameSync(file.path, going);
      await fs.promises.truncate(going);
      await fs.promises.rm(going);
    },
    isGivingBack: () => directories.flatMap((directory) => directory.all()).some(isGivenBackIn),
    close: () => {
      for (const directory of directories) directory.close();
      known.close();
    },
  };
}

function notEnough(needed: number, available: number, cause?: unknown): XapiError {
  return new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', [String(needed), String(available)], cause);
}

/** Make the sparse file first and count then, so that two hypervisors may both refuse but never both promise the last bytes. */
function promiseIn(file: string, bytes: number, count: () => number): number {
  let left = -bytes;
  try {
    fs.closeSync(openOwnFile(file, fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_EXCL, 0o600));
    fs.truncateSync(file, bytes);
    left = count();
  } catch {
    // A file system that cannot hold a file of this size counts as one without room.
  }
  if (left < 0) fs.rmSync(file, { force: true });
  return left;
}

const write = promisify(fs.write);
const zeros = Buffer.alloc(1 << 20);

/** Write zeros in pieces, in other threads, as a GiB takes half a second. */
async function writeZeros({ path, bytes }: MemoryFile): Promise<void> {
  const fd = openOwnFile(path, fs.constants.O_WRONLY);
  let at = 0;
  try {
    while (at < bytes) at += (await write(fd, zeros, 0, Math.min(zeros.length, bytes - at), at)).bytesWritten;
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    throw notEnough(bytes, at, error);
  } finally {
    fs.closeSync(fd);
  }
}

/** What `statfs` says is free on the file system of a directory, in bytes. */
export function freeBytesOf(directory: string): number {
  const { bavail, bsize } = fs.statfsSync(directory);
  return bavail * bsize;
}

/** Bytes free on the file system of a directory, less what is promised there and not written yet. */
function spaceLeft(
  directories: readonly MemoryDirectory[],
  { path }: MemoryDirectory,
  freeBytes: MemoryStoreInit['freeBytes'],
): number {
  const device = fs.statSync(path).dev;
  const sharing = directories.filter((other) => fs.statSync(other.path).dev === device);
  return freeBytes(path) - sharing.flatMap((other) => other.all()).reduce((sum, own) => sum + unwritten(own), 0);
}

/** What the memory files of a hypervisor promise and do not hold yet, in bytes. */
function unwritten(own: string): number {
  let bytes = 0;
  for (const name of list(own)) {
    const found = statOwnFile(path.join(own, name));
    if (found !== undefined) bytes += Math.max(0, found.size - found.blocks * 512);
  }
  return bytes;
}

/** Whether the hypervisor of a directory is giving memory back, and lives: a dead one's files stay. */
function isGivenBackIn(own: string): boolean {
  return mayLive(own) && list(own).some((name) => name.endsWith(givingBack));
}
