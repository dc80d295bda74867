/**
 * One process of a kind for a directory. The lock is on a file in the directory, so it holds for every process that can reach
 * that, of whatever user and network namespace, and nobody else can take it first. It is one of flock(2), which belongs to the
 * open file: the system lets go of it when its process dies, however it dies. Node has no such call; the program flock(1) makes
 * it for the descriptor that it is given.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, fstatSync, openSync, rmSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../errors.js';

export interface Lock {
  /** Let go of it, and remove its file. */
  release(): void;
}

/**
 * By the numbers of statfs(2). What is not among them may be shared with another machine, which would not see the lock.
 */
const localFileSystems: Readonly<Record<string, number>> = {
  ext4: 0xef53,
  XFS: 0x58465342,
  Btrfs: 0x9123683e,
  ZFS: 0x2fc12fc1,
  F2FS: 0xf2f52010,
  bcachefs: 0xca451a4e,
  JFS: 0x3153464a,
  ReiserFS: 0x52654973,
  NILFS: 0x3434,
  eCryptfs: 0xf15f,
  overlayfs: 0x794c7630,
  tmpfs: 0x01021994,
  ramfs: 0x858458f6,
};

/**
 * Take the lock for as long as this process lives.
 *
 * @param kind of process; its file is `KIND.lock` in the directory
 * @param directory on a local file system
 * @returns undefined where another process has it
 * @throws Error that says why the directory cannot be locked
 */
export function takeLock(kind: string, directory: string): Lock | undefined {
  const file = join(directory, `${kind}.lock`);
  try {
    assertLocal(directory);
    for (;;) {
      const fd = openOwn(file, directory);
      const got = tryLock(fd);
      // The last owner may have removed the file when it let go.
      if (got && isAt(file, fd)) return { release: () => release(file, fd) };
      closeSync(fd);
      if (!got) return undefined;
    }
  } catch (error) {
    throw new Error(`${directory} cannot be locked: ${messageOf(error)}`, { cause: error });
  }
}

function assertLocal(directory: string): void {
  const { type } = statfsSync(directory);
  if (Object.values(localFileSystems).includes(type)) return;
  const allowed = Object.keys(localFileSystems).join(', ');
  throw new Error(`its file system (0x${type.toString(16)}) may be shared with other machines; allowed: ${allowed}`);
}

/** Nobody but who may write the directory anyway can have made the file. */
function openOwn(file: string, directory: string): number {
  const { O_RDWR, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const fd = openSync(file, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  const { uid } = fstatSync(fd);
  const trusted = [process.getuid?.(), 0, statSync(directory).uid];
  if (fstatSync(fd).isFile() && trusted.includes(uid)) return fd;
  closeSync(fd);
  throw new Error(`${file} is no regular file of ours; it belongs to the user with the id ${uid}`);
}

/** The status of flock(1) where another process has the lock. */
const heldStatus = 1;

function tryLock(fd: number): boolean {
  const { status, error, stderr } = spawnSync('flock', ['-x', '-n', '3'], {
    stdio: ['ignore', 'ignore', 'pipe', fd],
    encoding: 'utf8',
  });
  if (status === 0) return true;
  if (status === heldStatus && stderr === '') return false;
  closeSync(fd);
  throw new Error(`flock, a program of util-linux: ${error === undefined ? stderr.trim() : messageOf(error)}`);
}

function isAt(file: string, fd: number): boolean {
  const found = statSync(file, { throwIfNoEntry: false });
  const { dev, ino } = fstatSync(fd);
  return found?.dev === dev && found.ino === ino;
}

function release(file: string, fd: number): void {
  rmSync(file, { force: true });
  closeSync(fd);
}
