/**
 * Room on the disk for what is written next. The database's file is kept longer than what is in it, with zeros at its
 * end that the disk has taken already, so that a commit writes only where there is room: a full disk is met here, where
 * nothing comes of it but a refusal.
 *
 * Within the library it must not be met. Where a write fails LMDB's binding (3.5.6, mdb_page_flush) makes a message of
 * up to 126 bytes in a block of 100, which breaks the heap; and what is mapped beyond what the disk has taken ends the
 * process with SIGBUS.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, XapiError } from '../errors.js';

/** Bytes beyond what the first rows of a new database need, and zeros that are written at a time. */
const slack = 2 << 20;

/** Bytes that the lists of free pages take at the least. */
const lists = 1 << 16;

/** LMDB's pages, in bytes. */
const pageBytes = 4096;

/** Extent of a database. */
export interface Extent {
  /** The number of the last page that is used. Asked before each write. */
  lastPage(): number;
  /** Pages from the root to a row. Asked when the file is lengthened, and at first. */
  depth(): number;
}

/** Size of a write. */
export interface WriteSize {
  readonly puts: number;
  readonly removes: number;
  /** Bytes of the keys and rows that are put, encoded, at the most. */
  readonly bytes: number;
}

export interface Room {
  /**
   * Have room for a write that is to begin now. The turns come in the order of the calls.
   * @returns to be called when it has ended, however
   * @throws XapiError OUT_OF_SPACE [path]; an Error of the file system where it is another one
   */
  take(size: WriteSize): Promise<() => void>;
  /**
   * Have room to write every row anew, while nothing else writes.
   * @throws XapiError OUT_OF_SPACE [path]
   */
  takeForAll(): void;
  close(): void;
}

/** The database's file, and what was promised to writes. */
interface File {
  readonly path: string;
  readonly fd: number;
  readonly extent: Extent;
  readonly ahead: number;
  /** Bytes of the file. */
  length: number;
  /** Pages from the root to a row, or one more: the tree grows by a level at the most until the file is lengthened. */
  levels: number;
  /** Bytes of writes under way. */
  promised: number;
  /** Called when no write is under way. */
  whenQuiet: (() => void) | undefined;
}

/**
 * Keep room in a database's file from now on.
 * @param path the directory of the database
 * @param dataFile its data
 * @param extent of what is in it
 * @param ahead so much more is taken from the disk than a write needs, in bytes, so that not every write asks for more
 */
export function keepRoom(path: string, dataFile: string, extent: Extent, ahead: number): Room {
  const fd = openSync(dataFile, 'r+');
  const { size } = fstatSync(fd);
  const levels = extent.depth() + 1;
  const file: File = { path, fd, extent, ahead, length: size, levels, promised: 0, whenQuiet: undefined };
  giveBackExcess(file);
  let turn: Promise<unknown> = Promise.resolve();
  return {
    take(size) {
      const granted = turn.then(() => grant(file, size));
      turn = granted.catch(() => undefined);
      return granted;
    },
    takeForAll: () => grow(file, 4 * usedBytes(file) + lists),
    close: () => closeSync(fd),
  };
}

function usedBytes({ extent }: File): number {
  return (extent.lastPage() + 1) * pageBytes;
}

/** Give back what large writes of earlier runs were promised and did not need. */
function giveBackExcess(file: File): void {
  const enough = usedBytes(file) + file.ahead + lists;
  if (file.length <= enough) return;
  file.length = enough;
  ftruncateSync(file.fd, enough);
}

/** @returns to be called when the write has ended */
async function grant(file: File, size: WriteSize): Promise<() => void> {
  const bytes = bytesAtMost(size, file.length / pageBytes, file.levels);
  if (usedBytes(file) + file.promised + bytes > file.length) {
    await quiet(file);
    grow(file, bytes);
  }
  file.promised += bytes;
  return () => {
    file.promised -= bytes;
    if (file.promised > 0) return;
    file.whenQuiet?.();
    file.whenQuiet = undefined;
  };
}

/** Wait until no write is under way. */
function quiet(file: File): Promise<void> {
  return new Promise((resolve) => {
    if (file.promised === 0) resolve();
    else file.whenQuiet = resolve;
  });
}

/** Have so many bytes behind what is used. Only while nothing writes, so that no zero ever comes where a page does. */
function grow(file: File, bytes: number): void {
  const end = usedBytes(file) + bytes;
  if (end <= file.length) return;
  try {
    lengthen(file, end + file.ahead);
  } catch {
    try {
      lengthen(file, end);
    } catch (error) {
      throw noRoom(file.path, bytes, error);
    }
  }
  file.levels = file.extent.depth() + 1;
}

/** Write zeros at the end, all or none. */
function lengthen(file: File, to: number): void {
  const before = file.length;
  const zeros = Buffer.alloc(Math.min(to - before, slack));
  try {
    while (file.length < to) {
      file.length += writeSync(file.fd, zeros, 0, Math.min(to - file.length, zeros.length), file.length);
    }
  } catch (error) {
    file.length = before;
    ftruncateSync(file.fd, before);
    throw error;
  }
}

/**
 * What a write can add to the file at the most. Each page on the way to a row is copied once, and may be split; a row
 * that is longer than half a page has pages of its own; and the pages that become free are listed.
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
 * Make the lock file, which every process that opens the database maps, where there is none, with bytes that the disk
 * has taken.
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
