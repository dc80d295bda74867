/**
 * Files that somebody names: a configuration, a secret, a password, a log. What a name leads to may be a FIFO, a device
 * or endless, and must neither hold up a daemon nor fill it: it is looked at before it is opened and after, opened
 * without waiting, and read up to a limit.
 */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync, writeFileSync } from 'node:fs';

/** Most bytes of a text file: more than any configuration needs. */
const mostBytes = 2 ** 18;

/** A file has bytes that are not UTF-8. */
export class NotUtf8Error extends Error {
  /** The first line that has some, counted from 1. */
  readonly line: number;

  constructor(line: number) {
    super(`line ${line} has bytes that are not UTF-8`);
    this.name = 'NotUtf8Error';
    this.line = line;
  }
}

/**
 * The text of a regular file of at most 256 KiB, without a byte order mark.
 * @throws NotUtf8Error; an Error that says what else is wrong with it, with the `code` of the system where that is what refuses
 */
export function readTextFile(path: string): string {
  const file = openRegularFile(path, constants.O_RDONLY);
  try {
    return decode(readUpTo(file, mostBytes));
  } finally {
    closeSync(file);
  }
}

/**
 * Write a regular file, over the one that is there.
 * @param mode of a file that is made
 * @throws an Error that says what is wrong with the place
 */
export function writeTextFile(path: string, text: string, mode = 0o666): void {
  const file = openRegularFile(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, mode);
  try {
    writeFileSync(file, text);
  } finally {
    closeSync(file);
  }
}

/**
 * Open a log, which is made if need be, to append to it.
 * @param mode of a file that is made
 * @returns a descriptor
 * @throws an Error that says what is wrong with the place
 */
export function openLogFile(path: string, mode: number): number {
  return openRegularFile(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, mode);
}

/** @throws an Error that names the file, where it is there and no regular one */
export function assertRegularFile(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found !== undefined) assertRegular(path, found);
}

function openRegularFile(path: string, flags: number, mode?: number): number {
  // Opening a device may do something to it.
  assertRegularFile(path);
  const file = openSync(path, flags | constants.O_NONBLOCK | constants.O_NOCTTY, mode);
  try {
    assertRegular(path, fstatSync(file));
    return file;
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

function assertRegular(path: string, found: Stats): void {
  if (!found.isFile()) throw new Error(`${path} is ${kindOf(found)}; allowed is a regular file`);
}

function kindOf(found: Stats): string {
  if (found.isDirectory()) return 'a directory';
  if (found.isFIFO()) return 'a FIFO';
  return found.isSocket() ? 'a socket' : 'a device';
}

/** The size that the system tells is 0 for files that it makes as they are read, and soon untrue for one that grows. */
function readUpTo(file: number, most: number): Buffer {
  const buffer = Buffer.alloc(most + 1);
  let length = 0;
  for (let read = -1; read !== 0 && length <= most; length += read) {
    read = readSync(file, buffer, length, buffer.length - length, null);
  }
  if (length > most) throw new Error(`it has more than ${most / 2 ** 10} KiB`);
  return buffer.subarray(0, length);
}

function decode(bytes: Buffer): string {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    return decoder.decode(bytes);
  } catch {
    // A line's end is no part of any other character, so the first line that cannot be read alone is the one.
    for (let line = 1, start = 0; ; line += 1) {
      const end = bytes.indexOf('\n', start);
      try {
        decoder.decode(bytes.subarray(start, end < 0 ? bytes.length : end));
      } catch {
        throw new NotUtf8Error(line);
      }
      start = end + 1;
    }
  }
}
