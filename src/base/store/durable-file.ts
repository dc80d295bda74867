/**
 * Files that outlive a loss of power. What was written to a file is on its disk when the file was flushed, and a name, new or
 * changed, when its directory was: a name may reach the disk before what it leads to.
 */
import { closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/** Flush a file, or the names in a directory: they outlive a loss of power when this resolves. */
export async function flushPath(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The same, at once. */
export function flushPathSync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Make a directory for its owner alone, with those above it, where it is not there; it outlives a loss of power when
 * this resolves.
 */
export async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  for (const parent of parentsOf(path, first)) await flushPath(parent);
}

/** The same, at once. */
export function makeDirectorySync(path: string): void {
  const first = mkdirSync(path, { recursive: true, mode: 0o700 });
  for (const parent of parentsOf(path, first)) flushPathSync(parent);
}

/**
 * The directories in which a name is new.
 * @param first that was made on the way to the path; undefined where none was
 */
function parentsOf(path: string, first: string | undefined): string[] {
  if (first === undefined) return [];
  const parents: string[] = [];
  for (let made = resolve(path); made.length >= first.length; made = dirname(made)) parents.push(dirname(made));
  return parents;
}

/**
 * Give a file that was written whole its name, in the place of what has it; when this resolves it outlives a loss of
 * power.
 */
export async function nameFile(written: string, path: string): Promise<void> {
  await flushPath(written);
  await rename(written, path);
  await flushPath(dirname(path));
}

/**
 * Write a file for its owner alone, in the place of the one that is there: as a whole or, as where its disk is full or
 * the power is lost, not at all.
 * @throws the error of the file system; nothing of it is left
 */
export async function replaceFile(path: string, text: string): Promise<void> {
  const fresh = `${path}.new`;
  try {
    await rm(fresh, { force: true });
    const file = await open(fresh, 'wx', 0o600);
    await file.writeFile(text).finally(() => file.close());
    await nameFile(fresh, path);
  } catch (error) {
    await rm(fresh, { force: true }).catch(() => undefined);
    throw error;
  }
}
