/**
 * Where memory files go, in a directory that every user may write to, such as /dev/shm:
 *
 *   DIRECTORY/xenferry-UID/PID-STARTED-NAMESPACE-INSTANCE/NUMBER.memory
 *
 * `xenferry-UID` is the user's, so that the hypervisors of a user find one another whatever else is in DIRECTORY. The folder in it is
 * one hypervisor's, whose name says which, so that no folder is without an owner. Where another user has taken the name
 * `xenferry-UID`, something random is added to it. The list in the state directory lets the next hypervisor there find these folders.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { messageOf } from '../base/errors.js';
import { assertSafeDirectory, isOwnDirectory } from '../base/own-file.js';
import { isAlive, ownIdentity, type ProcessIdentity } from '../base/process/process-identity.js';

export interface MemoryDirectory {
  /** The directory that is shared with others. */
  readonly path: string;
  /**
   * The directory of this hypervisor's own in it, which is made where it is not there.
   * @throws an Error that says why it cannot be
   */
  own(): string;
  /** The directories of all hypervisors of this user that are known in it, this one's included. */
  all(): string[];
  /** Remove what is of this hypervisor's own. */
  close(): void;
}

export interface MemoryDirectoryInit {
  /** The name of this hypervisor. */
  readonly instance: string;
  /** Called before a directory of its own is made, so that it can be found again. */
  willMake(own: string): void;
  log(line: string): void;
}

const listFile = 'memory-directories.json';
const homePattern = /^xenferry-\d+(-[0-9a-f]{16})?$/;
const ownPattern = /^(\d+)-(\d+)-(\d+)-.+$/;

/** Open a directory that can be shared; undefined, with a line in the log, for any other. */
export function openMemoryDirectory(directory: string, init: MemoryDirectoryInit): MemoryDirectory | undefined {
  try {
    const real = fs.realpathSync(directory);
    assertSafeDirectory(real);
    return inDirectory(real, init);
  } catch (error) {
    init.log(`memory directory ${directory} is not used: ${messageOf(error)}`);
    return undefined;
  }
}

function inDirectory(directory: string, { instance, willMake, log }: MemoryDirectoryInit): MemoryDirectory {
  const uid = process.geteuid?.();
  const ownName = `${nameOf(ownIdentity())}-${instance}`;
  let home = path.join(directory, `xenferry-${uid}`);
  const makeHome = (): void => {
    if (makeOwn(home)) return;
    const taken = home;
    home = path.join(directory, `xenferry-${uid}-${randomBytes(8).toString('hex')}`);
    log(`${taken} is no directory of the user with the id ${uid}: memory goes to ${home}`);
    if (!makeOwn(home)) throw new Error(`${home} is another user's`);
  };
  const all = (): string[] =>
    isOwnDirectory(home)
      ? list(home)
          .map((name) => path.join(home, name))
          .filter(isOwnDirectory)
      : [];
  const own = (): string => {
    for (let left = 3; ; left -= 1) {
      const made = path.join(home, ownName);
      if (isOwnDirectory(home) && isOwnDirectory(made)) return made;
      makeHome();
      willMake(path.join(home, ownName));
      try {
        fs.mkdirSync(path.join(home, ownName), { mode: 0o700 });
      } catch (error) {
        // Another hypervisor has removed the empty directory at its end.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || left === 0) throw error;
      }
    }
  };
  for (const left of all()) {
    const owner = ownerOf(left);
    if (owner !== undefined && isAlive(owner) === false) remove(left, log);
  }
  return { path: directory, own, all, close: () => removeWithHome(path.join(home, ownName)) };
}

/** Whether the hypervisor of a directory may live. */
export function mayLive(own: string): boolean {
  const owner = ownerOf(own);
  return owner !== undefined && isAlive(owner) !== false;
}

/** Names in a directory; none when it is gone. */
export function list(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch {
    return [];
  }
}

export interface MemoryDirectoryList {
  /** Add a directory to the list. */
  add(own: string): void;
  /** Remove the list, once nothing is left in any of the directories. */
  close(): void;
}

/**
 * Open the list of a state directory, and remove what an earlier hypervisor has left: the caller holds the lock of the state
 * directory, so that hypervisor is dead.
 */
export function openMemoryDirectoryList(stateDirectory: string, log: (line: string) => void): MemoryDirectoryList {
  const file = path.join(stateDirectory, listFile);
  for (const left of readList(file, log)) remove(left, log);
  const made: string[] = [];
  return {
    add: (own) => {
      if (made.includes(own)) return;
      made.push(own);
      try {
        fs.writeFileSync(`${file}.new`, JSON.stringify(made), { mode: 0o600 });
        fs.renameSync(`${file}.new`, file);
      } catch (error) {
        log(`${file} is not written, so that a later hypervisor may not find ${own}: ${messageOf(error)}`);
      }
    },
    close: () => fs.rmSync(file, { force: true }),
  };
}

function readList(file: string, log: (line: string) => void): string[] {
  try {
    const found: unknown = JSON.parse(fs.readFileSync(file, 'utf8'));
    return Array.isArray(found) ? found.filter((each) => typeof each === 'string') : [];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') log(`${file} is not used: ${messageOf(error)}`);
    return [];
  }
}

/** Make a directory that only this user can enter; false where the name is taken by what is not one of this user's own. */
function makeOwn(directory: string): boolean {
  try {
    fs.mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (!isOwnDirectory(directory)) return false;
    fs.chmodSync(directory, 0o700);
  }
  return true;
}

function remove(left: string, log: (line: string) => void): void {
  const home = path.dirname(left);
  if (!ownPattern.test(path.basename(left)) || !homePattern.test(path.basename(home))) return;
  if (!isOwnDirectory(home) || !isOwnDirectory(left)) return;
  try {
    removeWithHome(left);
    log(`removed the memory of a dead hypervisor: ${left}`);
  } catch (error) {
    log(`the memory of a dead hypervisor stays: ${messageOf(error)}`);
  }
}

function removeWithHome(own: string): void {
  if (!isOwnDirectory(path.dirname(own))) return;
  fs.rmSync(own, { recursive: true, force: true });
  try {
    fs.rmdirSync(path.dirname(own));
  } catch {
    // The directory still has another hypervisor's files.
  }
}

function nameOf({ pid, started, namespace }: ProcessIdentity): string {
  return `${pid}-${started}-${/\d+/.exec(namespace)?.[0]}`;
}

function ownerOf(own: string): ProcessIdentity | undefined {
  const [, pid, started = '', namespace] = ownPattern.exec(path.basename(own)) ?? [];
  return pid === undefined ? undefined : { pid: Number(pid), started, namespace: `pid:[${namespace}]` };
}
