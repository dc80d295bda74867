/**
 * Room on the disk for what is written next. The database's file is kept longer than what is in it, with zeros at its end that the
 * disk has taken already, so that a commit writes only where there is room: a full disk is met here, where nothing comes of it but
 * a refusal.
 *
 * Within the library it must not be met. Where a write fails LMDB's binding (3.5.6, mdb_page_flush) makes a message of up to 126
 * bytes in a block of 100, which breaks the heap; and what is mapped beyond what the disk has taken ends the process with SIGBUS.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, XapiError } from '../errors.js';

/** More than the first rows of a new database need, and zeros that are written at a time, in bytes. */
const slack = 2 << 20;

/** What the lists of free pages take at the least, in bytes. */
const lists = 1 << 16;

/** LMDB's pages, in bytes. */
const pageBytes = 4096;

/** How large a database is. */
export interface Extent {
  /** The number of the last page that is used. Asked before each write. */
  lastPage(): number;
  /** Pages from the root to a row. Asked when the file is lengthened, and at first. */
  depth(): number;
}

/** What a write changes. */
export interface WriteSize {
  readonly puts: number;
  readonly removes: number;
  /** What the keys and rows that are put have at the most, encoded. */
  readonly bytes: number;
}

export interface Room {
  /**
   * Have room for a write that is to begin now. The turns come in the order of the calls.
   * @returns to be called when it has ended, however
   * @throws XapiError OUT_OF_SPACE [path]; an Error of the file system where it is another one
   */
  take(size: WriteSize): Promise<() => void>;
  /** Have room to write every row anew, while nothing else writes. @throws XapiError OUT_OF_SPACE [path] */
  takeForAll(): void;
  close(): void;
}

/**
 * @param path the directory of the database
 * @param file its data
 * @param ahead so much more is taken from the disk than a write needs, in bytes, so that not every write asks for more
 */
export function keepRoom(path: string, file: string, { lastPage, depth }: Extent, ahead: number): Room {
  const fd = openSync(file, 'r+');
  let length = fstatSync(fd).size;
  /** The tree grows by a level at the most until the file is lengthened. */
  let levels = depth() + 1;
  /** To writes under way. */
  let promised = 0;
  let turn: Promise<unknown> = Promise.resolve();
  /** Called when no write is under way. */
  let whenQuiet: (() => void) | undefined;

  const used = (): number => (lastPage() + 1) * pageBytes;
  // What large writes of earlier runs were promised and did not need.
  if (length > used() + ahead + lists) {
    length = used() + ahead + lists;
    ftruncateSync(fd, length);
  }
  const lengthen = (to: number): void => {
    const zeros = Buffer.alloc(Math.min(to - length, slack));
    const before = length;
    try {
      while (length < to) length += writeSync(fd, zeros, 0, Math.min(to - length, zeros.length), length);
    } catch (error) {
      length = before;
      ftruncateSync(fd, length);
      throw error;
    }
  };
  const quiet = (): Promise<void> =>
    new Promise((resolve) => {
      if (promised === 0) resolve();
      else whenQuiet = resolve;
    });
  /** Only while nothing writes, so that no zero ever comes where a page does. */
  const grow = (bytes: number): void => {
    const end = used() + bytes;
    if (end <= length) return;
    try {
      lengthen(end + ahead);
    } catch {
      try {
        lengthen(end);
      } catch (error) {
        throw noRoom(path, bytes, error);
      }
    }
    levels = depth() + 1;
  };
  const grant = async (size: WriteSize): Promise<() => void> => {
    const bytes = bytesAtMost(size, length / pageBytes, levels);
    if (used() + promised + bytes > length) {
      await quiet();
      grow(bytes);
    }
    promised += bytes;
    return () => {
      promised -= bytes;
      if (promised > 0) return;
      whenQuiet?.();
      whenQuiet = undefined;
    };
  };
  return {
    take(size) {
      const granted = turn.then(() => grant(size));
      turn = granted.catch(() => undefined);
      return granted;
    },
    takeForAll: () => grow(4 * used() + lists),
    close: () => closeSync(fd),
  };
}

/**
 * What a write can add to the file at the most. Each page on the way to a row is copied once, and may be split; a row that is longer
 * than half a page has pages of its own; and the pages that become free are listed.
 * @param pages that the database has, or more
 * @param depth pages from the root to a row, or more
 */
function bytesAtMost({ puts, removes, bytes }: WriteSize, pages: number, depth: number): number {
  const touched = Math.min((puts + removes) * (depth + 1), pages);
  const splits = Math.min(3 * puts, 3 * touched + Math.ceil((4 * bytes) / pageBytes));
  const own = Math.ceil(bytes / pageBytes) + Math.min(puts, Math.ceil((2 * bytes) / pageBytes));
  const freed = Math.ceil(pages / 256) * pageBytes;
  return (touched + splits + own + depth) * pageBytes + freed + lists;
}

/** The lock file of LMDB, in bytes: what it has for 126 readers, in whole pages. */
const lockBytes = 3 * pageBytes;

/**
 * Make the lock file, which every process that opens the database maps, where there is none, with bytes that the disk has taken.
 * @throws XapiError OUT_OF_SPACE [path]
 */
export function provideLockFile(path: string, file: string): void {
  write(path, join(path, file), lockBytes, (error) => error.code === 'EEXIST');
}

/**
 * Find out whether there is room for a database that is to be made.
 * @param ahead as for `keepRoom`
 * @throws XapiError OUT_OF_SPACE [path]
 */
export function assertRoomToBegin(path: string, ahead: number): void {
  const file = join(path, 'room');
  rmSync(file, { force: true });
  try {
    write(path, file, slack + ahead);
  } finally {
    rmSync(file, { force: true });
  }
}

/** A file of zeros, whole or not at all. */
function write(
  path: string,
  file: string,
  bytes: number,
  isFine: (error: NodeJS.ErrnoException) => boolean = () => false,
): void {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'wx', 0o600);
    for (let written = 0; written < bytes; ) written += writeSync(fd, Buffer.alloc(Math.min(bytes - written, slack)));
  } catch (error) {
    if (fd === undefined && isFine(error as NodeJS.ErrnoException)) return;
    if (fd !== undefined) rmSync(file);
    throw noRoom(path, bytes, error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The disk, the user's share of it, and the process's limit of a file's length. */
const full: readonly unknown[] = ['ENOSPC', 'EDQUOT', 'EFBIG'];

/** A full disk as a XenAPI error; another error is left as it is. */
function noRoom(path: string, bytes: number, error: unknown): unknown {
  if (!full.includes((error as NodeJS.ErrnoException).code)) return error;
  return new XapiError('OUT_OF_SPACE', [path], `up to ${bytes >> 10} KiB are needed: ${messageOf(error)}`);
}
