/**
 * The files that hold guest memory. Every byte that is promised, to a domain or to a reservation, is the length of a sparse
 * file, so what is promised and not yet written can be seen by every hypervisor that shares the file system: no memory is
 * promised twice, and what fits nowhere is refused before anything is written.
 *
 * To give written memory back takes the system a while. Until it has done so the file is there under another name, so that every
 * hypervisor can see that more is about to be free.
 */
import fs from 'node:fs';
import path from 'node:path';
import { messageOf, XapiError } from '../base/errors.js';
import { isAlive, ownIdentity, type ProcessIdentity } from '../base/process/process-identity.js';

/** A sparse file that stands for promised memory. */
export interface MemoryFile {
  readonly path: string;
  readonly bytes: number;
}

export interface MemoryStore {
  readonly total: number;
  /** Promise memory: a sparse file of its own. @throws HOST_NOT_ENOUGH_FREE_MEMORY, with nothing left behind */
  allocate(bytes: number): MemoryFile;
  /** End a promise of which nothing was written. */
  free(file: MemoryFile): void;
  /** End a promise at once, and give what was written back to the system. Resolves when it has that. */
  giveBack(file: MemoryFile): Promise<void>;
  /** Whether a hypervisor that shares the directories is giving memory back. */
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
  /** Names the state directory, whose earlier instance is known to be dead. */
  readonly stateKey: string;
  /** Bytes that are free on the file system of a directory. */
  freeBytes(directory: string): number;
  log(line: string): void;
}

interface Owner extends ProcessIdentity {
  readonly stateKey: string;
}

const prefix = 'xenferry-';
const ownerFile = 'owner.json';
const givingBack = '.freeing';

/** Makes a private directory in each of the given ones that can be written; removes those of dead hypervisors. */
export function openMemoryStore(init: MemoryStoreInit): MemoryStore {
  const directories = init.directories.filter((directory) => isUsable(directory, init.log));
  if (directories.length === 0) throw new Error(`no directory for memory among ${init.directories.join(', ')}`);
  for (const directory of directories) removeLeftovers(directory, init);
  const privateIn = (directory: string): string => path.join(directory, prefix + init.instance);
  const own = directories.map(privateIn);
  const owner: Owner = { ...ownIdentity(), stateKey: init.stateKey };
  for (const directory of own) {
    fs.mkdirSync(directory, { mode: 0o700 });
    fs.writeFileSync(path.join(directory, ownerFile), JSON.stringify(owner));
  }
  let promised = 0;
  let files = 0;
  return {
    total: init.total,
    allocate: (bytes) => {
      let available = Math.max(0, init.total - promised);
      if (bytes > available) throw notEnough(bytes, available);
      available = 0;
      for (const directory of directories) {
        const file = path.join(privateIn(directory), `${++files}.memory`);
        const left = promiseIn(file, bytes, () => spaceLeft(directories, directory, init.freeBytes));
        if (left >= 0) {
          promised += bytes;
          return { path: file, bytes };
        }
        available = Math.max(available, left + bytes);
      }
      throw notEnough(bytes, available);
    },
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
    isGivingBack: () => directories.flatMap(ownedDirectories).some(isGivenBackIn),
    close: () => {
      for (const directory of own) fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}

function notEnough(needed: number, available: number): XapiError {
  return new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', [String(needed), String(available)]);
}

/** Make the sparse file first and count then, so that two hypervisors may both refuse but never both promise the last bytes. */
function promiseIn(file: string, bytes: number, count: () => number): number {
  fs.writeFileSync(file, '', { flag: 'wx', mode: 0o600 });
  let left = -bytes;
  try {
    fs.truncateSync(file, bytes);
    left = count();
  } catch {
    // A file system that cannot hold a file of this size has no room for it.
  }
  if (left < 0) fs.rmSync(file, { force: true });
  return left;
}

/** What `statfs` says is free on the file system of a directory, in bytes. */
export function freeBytesOf(directory: string): number {
  const { bavail, bsize } = fs.statfsSync(directory);
  return bavail * bsize;
}

/** Bytes free on the file system of a directory, less what is promised there and not written yet. */
function spaceLeft(directories: readonly string[], directory: string, freeBytes: MemoryStoreInit['freeBytes']): number {
  const device = fs.statSync(directory).dev;
  const sharing = new Set(
    directories.filter((other) => fs.statSync(other).dev === device).map((other) => fs.realpathSync(other)),
  );
  return freeBytes(directory) - [...sharing].reduce((sum, other) => sum + unwritten(other), 0);
}

/** What the memory files of all hypervisors under a directory promise and do not hold yet, in bytes. */
function unwritten(directory: string): number {
  let bytes = 0;
  for (const owner of ownedDirectories(directory)) {
    for (const name of list(owner)) {
      const stat = fs.statSync(path.join(owner, name), { throwIfNoEntry: false });
      if (stat !== undefined) bytes += Math.max(0, stat.size - stat.blocks * 512);
    }
  }
  return bytes;
}

/** The private directories of hypervisors under a memory directory. */
function ownedDirectories(directory: string): string[] {
  return list(directory)
    .filter((name) => name.startsWith(prefix))
    .map((name) => path.join(directory, name));
}

/** Whether the hypervisor of a private directory is giving memory back: a dead one never ends to. */
function isGivenBackIn(directory: string): boolean {
  if (!list(directory).some((name) => name.endsWith(givingBack))) return false;
  const owner = readOwner(directory);
  return owner !== undefined && isAlive(owner) !== false;
}

/** Names in a directory; none when it is gone or another user's. */
function list(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch {
    return [];
  }
}

function isUsable(directory: string, log: MemoryStoreInit['log']): boolean {
  try {
    fs.accessSync(directory, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
    return true;
  } catch (error) {
    log(`memory directory ${directory} is not used: ${messageOf(error)}`);
    return false;
  }
}

/** Remove what a hypervisor that was killed left behind: an earlier one of this state directory, or one that is known dead. */
function removeLeftovers(directory: string, { stateKey, log }: MemoryStoreInit): void {
  for (const left of ownedDirectories(directory)) {
    const owner = readOwner(left);
    if (owner === undefined) continue;
    const alive = isAlive(owner);
    if (alive === true || (alive === 'unknown' && owner.stateKey !== stateKey)) continue;
    fs.rmSync(left, { recursive: true, force: true });
    log(`removed the memory of a dead hypervisor: ${left}`);
  }
}

function readOwner(directory: string): Owner | undefined {
  try {
    return JSON.parse(fs.readFileSync(path.join(directory, ownerFile), 'utf8')) as Owner;
  } catch {
    return undefined;
  }
}
