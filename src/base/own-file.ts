/**
 * What is in a directory that others can write to as well, such as /dev/shm. A name there may lead to a FIFO, which
 * holds up whoever opens it, or to what another user has put there: nothing is used but regular files and directories
 * of this process's user.
 */
import { accessSync, closeSync, constants, fstatSync, lstatSync, openSync, type Stats, statSync } from 'node:fs';

/**
 * Open a regular file of this user's own, without following a link or waiting for anybody.
 * @param flags of open(2)
 * @param mode of a file that is made
 * @throws an Error that says what is wrong with it
 */
export function openOwnFile(path: string, flags: number, mode?: number): number {
  const fd = openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY, mode);
  const found = fstatSync(fd);
  if (found.isFile() && isOwn(found)) return fd;
  closeSync(fd);
  throw new Error(`${path} is no regular file of ours; it belongs to the user with the id ${found.uid}`);
}

/**
 * That a directory, or what a link leads to, can have files of this user's own beside those of others. Where everybody
 * may write to it, they must not be able to rename what is not theirs, as sticky directories see to.
 * @throws an Error that says what is wrong with it
 */
export function assertSafeDirectory(path: string): void {
  const found = statSync(path);
  if (!found.isDirectory()) throw new Error('is no directory');
  accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
  if ((found.mode & constants.S_IWOTH) !== 0 && (found.mode & sticky) === 0) {
    throw new Error(
      'everybody may rename what is in it; allowed: mode 1777, or one by which others cannot write to it',
    );
  }
}

/** S_ISVTX of stat(2). */
const sticky = 0o1000;

/** What is there, where it is a regular file of this user's own. */
export function statOwnFile(path: string): Stats | undefined {
  const found = look(path);
  return found?.isFile() && isOwn(found) ? found : undefined;
}

/** Tell whether a directory of this user's own is there, and no link to one. */
export function isOwnDirectory(path: string): boolean {
  const found = look(path);
  return found?.isDirectory() === true && isOwn(found);
}

function look(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}

function isOwn({ uid }: Stats): boolean {
  return uid === process.geteuid?.();
}
