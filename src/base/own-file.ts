/**
 * What is in a directory that others can write to as well, such as /dev/shm. A name there may lead to a FIFO, which holds up whoever
 * opens it, or to what another user has put there: nothing is used but regular files and directories of this process's user.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, type Stats } from 'node:fs';

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

/** What is there, where it is a regular file of this user's own. */
export function statOwnFile(path: string): Stats | undefined {
  const found = look(path);
  return found?.isFile() && isOwn(found) ? found : undefined;
}

/** Whether a directory of this user's own is there, and no link to one. */
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
