/**
 * The database's file before it is used: whether it can be, in which format it is, and how an older format becomes that of now.
 * And copies of it.
 *
 * A format is a number that stands in the database. Another layout of rows takes the next number, and a step in `upgrades` that
 * brings the rows of the one before to it. A database is copied beside itself before it is upgraded, and upgraded in one
 * transaction, so an upgrade that fails, or is cut short, leaves the old one.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, chmodSync, constants, copyFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { open, type RootDatabase } from 'lmdb';
import { isOutOfSpace, messageOf, XapiError } from '../errors.js';
import { flushPath, flushPathSync, makeDirectory, makeDirectorySync } from './durable-file.js';
import type { Examined } from './examiner.js';
import { flushNewestState } from './flushed-state.js';
import { assertRoomToBegin, type Extent, keepRoom, provideLockFile, type Room } from './room.js';
import {
  checksumOf,
  dataFile,
  formatKey,
  noRows,
  openRow,
  sealedFormat,
  sealRow,
  type Total,
  totalAfter,
  totalKey,
} from './row.js';

/** A key is the name of a table and the id of a row. */
export type StoreDatabase = RootDatabase<unknown, string[]>;

/** Rows that a step of an upgrade works on. */
interface UpgradeRows {
  /** Seal every row, which none is before format 2. */
  seal(): void;
  entries(table: string): Iterable<readonly [id: string, row: unknown]>;
  put(table: string, id: string, row: unknown): void;
  remove(table: string, id: string): void;
}

export interface StoreFormat {
  /** Number of the format that this version writes. */
  readonly number: number;
  /**
   * What brings the rows of a format, by its number, to the next one. From the oldest on that is known, none is left
   * out.
   */
  readonly upgrades: Readonly<Record<number, (rows: UpgradeRows) => void>>;
}

export const currentFormat: StoreFormat = { number: sealedFormat, upgrades: { 1: (rows) => rows.seal() } };

const lockFile = 'lock.mdb';

/** It holds hashes of passwords, and secrets: nobody but its owner reads it, whatever the directory allows. */
const ownersAlone = 0o600;

export interface OpenDatabase {
  readonly database: StoreDatabase;
  /** Without room that was taken from it nothing may be written to the database. */
  readonly room: Room;
  /** Total of the database's rows now. */
  readonly total: Total;
}

/**
 * Open a database, which is made if need be, and bring it to the format.
 * @param reserve how much longer than what is in it its file is kept, in bytes
 * @throws XapiError INTERNAL_ERROR, with the path and what to do, for a damaged database, one whose format is not
 *   known, and one that cannot be opened; OUT_OF_SPACE [path] where its disk is full
 */
export function openInFormat(path: string, format: StoreFormat, reserve: number): OpenDatabase {
  makeDatabaseDirectory(path);
  assertAccessible(path);
  provideFiles(path, reserve);
  const found = examine(path, 'quiet');
  if (found !== undefined) assertKnown(path, found, format);
  if (found !== undefined) flushNewest(path);
  if (found !== undefined && found < format.number) keepCopy(path, found);
  const database = openDatabase(path);
  const room = keepRoom(path, join(path, dataFile), extentOf(database), reserve);
  if (found === format.number) return { database, room, total: openRow(totalKey, database.get(totalKey)) as Total };
  try {
    room.takeForAll();
    const total = database.transactionSync(() => {
      for (let from = found ?? format.number; from < format.number; from++) format.upgrades[from]?.(rowsOf(database));
      database.putSync(formatKey, format.number);
      return writeTotal(database);
    });
    if (found === undefined) flushPathSync(path);
    return { database, room, total };
  } catch (error) {
    if (isOutOfSpace(error)) throw error;
    const what = `cannot be brought from format ${found} to ${format.number}: ${messageOf(error)}.`;
    throw unusable(path, what, 'It is as it was: run the version that wrote it.', error);
  }
}

/**
 * Copy a database, as it is at one moment, while another process may be using it. The copy outlives a loss of power when this
 * resolves.
 * @param to a directory that is made, or is empty
 * @throws XapiError INTERNAL_ERROR that says what cannot be read or written, and why
 */
export async function backupDatabase(path: string, to: string): Promise<void> {
  assertAccessible(path);
  if (dataSize(path) === undefined) throw unusable(path, 'is not there.', 'Set the database-path of the daemon.');
  provideFiles(path, 0);
  examine(path, 'written to');
  const database = open<unknown, string[]>({ path, noSubdir: false, readOnly: true });
  try {
    await copyDatabase(database, to);
    await flushCopy(to);
  } finally {
    await database.close();
  }
}

/**
 * Copy an open database, and read the copy.
 * @throws INTERNAL_ERROR for a directory that is not empty or cannot be written, or a damaged copy
 */
export async function copyDatabase(database: StoreDatabase, to: string): Promise<void> {
  try {
    await makeDirectory(to);
    if (readdirSync(to).length > 0) throw new Error('it is not empty');
    await database.backup(to, true);
    chmodSync(join(to, dataFile), ownersAlone);
    provideFiles(to, 0);
    await examineCopy(to);
    rmSync(join(to, lockFile));
  } catch (error) {
    throw notCopied(to, error);
  }
}

async function flushCopy(to: string): Promise<void> {
  try {
    await flushPath(join(to, dataFile));
    await flushPath(to);
  } catch (error) {
    throw notCopied(to, error);
  }
}

function notCopied(to: string, error: unknown): XapiError {
  return new XapiError('INTERNAL_ERROR', [`The database cannot be copied to ${to}: ${messageOf(error)}`], error);
}

function flushNewest(path: string): void {
  try {
    flushNewestState(join(path, dataFile));
  } catch (error) {
    throw cannotOpen(path, error);
  }
}

function openDatabase(path: string): StoreDatabase {
  try {
    // Without noSubdir a path whose last part has a dot would be taken as a file.
    // With eventTurnBatching the library makes a promise that nobody can wait for: when a write failed it would end the daemon.
    // The library's types do not know permissionsMode.
    const untyped = { permissionsMode: ownersAlone };
    return open<unknown, string[]>({ path, noSubdir: false, eventTurnBatching: false, ...untyped });
  } catch (error) {
    throw cannotOpen(path, error);
  }
}

/**
 * The library's types do not know `info`; `getStats`, which they know, counts the free pages as well, which costs more
 * than a write.
 */
function extentOf(database: StoreDatabase): Extent {
  const { env } = database as unknown as { env: { info(): { lastPageNumber: number } } };
  return {
    lastPage: () => env.info().lastPageNumber,
    depth: () => (database.getStats() as { treeDepth: number }).treeDepth,
  };
}

/** Make files that LMDB would otherwise make itself, ending the process where the disk has no room for them. */
function provideFiles(path: string, reserve: number): void {
  try {
    provideLockFile(path, lockFile);
    if (dataSize(path) === undefined) assertRoomToBegin(path, reserve);
  } catch (error) {
    throw error instanceof XapiError ? error : cannotOpen(path, error);
  }
}

/**
 * Make the directory of a database if need be.
 * @throws XapiError INTERNAL_ERROR, with the path and what to do
 */
export function makeDatabaseDirectory(path: string): void {
  try {
    makeDirectorySync(path);
  } catch (error) {
    throw cannotOpen(path, error);
  }
}

/** Where LMDB's binding cannot open a file it can end the process. */
function assertAccessible(path: string): void {
  const check = (file: string): void => {
    if (statSync(file, { throwIfNoEntry: false }) === undefined) return;
    accessSync(file, constants.R_OK | constants.W_OK);
    if (file !== path && !statSync(file).isFile()) throw new Error(`${file} is no plain file`);
  };
  try {
    for (const file of [path, join(path, dataFile), join(path, lockFile)]) check(file);
  } catch (error) {
    throw cannotOpen(path, error);
  }
}

/**
 * Look at a database before it is opened. A damaged file can kill the process that reads it (the file is mapped into memory),
 * so a child process reads all of it first.
 * @returns its format; undefined where there is no database
 */
function examine(path: string, use: Use): number | undefined {
  const bytes = dataSize(path);
  if (bytes === undefined) return undefined;
  assertNotEmpty(path, bytes);
  const [program, args] = examiner(path, use);
  const { error, signal, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return formatIn(path, stdout, error ?? new Error(signal ?? stderr.trim()));
}

/** Examine a copy without holding up the process. */
async function examineCopy(path: string): Promise<void> {
  assertNotEmpty(path, dataSize(path) ?? 0);
  // A daemon that starts has no use for the library.
  const { execa } = await import('execa');
  const [program, args] = examiner(path, 'quiet');
  const examined = await execa(program, args, { reject: false });
  formatIn(path, examined.stdout, examined instanceof Error ? examined : undefined);
}

/** Use of a database while it is examined: where another process may write to it, its pages cannot be looked at. */
type Use = 'quiet' | 'written to';

function examiner(path: string, use: Use): [program: string, args: string[]] {
  return [process.execPath, [fileURLToPath(new URL('./examiner.js', import.meta.url)), path, use]];
}

const restore = 'Put a copy of the directory back, or move it away to begin with an empty database.';

/** A file without a byte is known to be damaged without an examiner. @throws XapiError INTERNAL_ERROR */
function assertNotEmpty(path: string, bytes: number): void {
  if (bytes === 0) throw unusable(path, `is damaged: ${dataFile} is empty.`, restore);
}

/** What the examiner said of a database, or why it said nothing. @throws XapiError INTERNAL_ERROR */
function formatIn(path: string, stdout: string, failure: Error | undefined): number {
  if (stdout === '') throw unusable(path, `is damaged: ${dataFile} cannot be read.`, restore, failure);
  const { format, damage } = JSON.parse(stdout) as Examined;
  if (damage !== undefined) throw unusable(path, `is damaged: in ${dataFile} ${damage}.`, restore);
  if (typeof format !== 'number') throw unusable(path, 'is no database of xenferry.', 'Set another database-path.');
  return format;
}

function assertKnown(path: string, found: number, { number, upgrades }: StoreFormat): void {
  const oldest = Math.min(number, ...Object.keys(upgrades).map(Number));
  if (found >= oldest && found <= number) return;
  const known = oldest === number ? `${number} alone` : `${oldest} to ${number}`;
  const what = `has format ${found}, and this version knows ${known}.`;
  throw unusable(path, what, 'Run the version that wrote it, or set another database-path.');
}

/** Keep what was there before an upgrade, for whoever goes back to an older version. */
function keepCopy(path: string, format: number): void {
  const copy = `${path}.format-${format}`;
  try {
    makeDirectorySync(copy);
    copyFileSync(join(path, dataFile), join(copy, dataFile));
    flushPathSync(join(copy, dataFile));
    flushPathSync(copy);
  } catch (error) {
    throw unusable(path, `cannot be copied to ${copy}: ${messageOf(error)}.`, 'It is copied before an upgrade.', error);
  }
}

/** @returns the total of the rows that are there, which is written */
function writeTotal(database: StoreDatabase): Total {
  let total = noRows;
  for (const { key, value } of database.getRange({})) {
    if (key[0] !== '') total = totalAfter(total, undefined, checksumOf(key, value));
  }
  database.putSync(totalKey, sealRow(totalKey, total));
  return total;
}

function rowsOf(database: StoreDatabase): UpgradeRows {
  return {
    seal() {
      for (const { key, value } of [...database.getRange({})]) database.putSync(key, sealRow(key, value));
    },
    entries: (table) => [...rowsIn(database, table)],
    put: (table, id, row) => void database.putSync([table, id], sealRow([table, id], row)),
    remove: (table, id) => void database.removeSync([table, id]),
  };
}

/**
 * Every row of a table with its id, in the order of the ids by code point.
 * @throws Error for one that is damaged
 */
export function* rowsIn(database: StoreDatabase, table: string): Iterable<[id: string, row: unknown]> {
  for (const { key, value } of database.getRange({ start: [table, ''], end: [table, '\u{10ffff}'] })) {
    yield [key[1] ?? '', openRow(key, value)];
  }
}

/** The bytes of the database's file; undefined where there is none. */
function dataSize(path: string): number | undefined {
  return statSync(join(path, dataFile), { throwIfNoEntry: false })?.size;
}

function cannotOpen(path: string, error: unknown): XapiError {
  const what = `cannot be opened: ${messageOf(error)}.`;
  return unusable(path, what, 'Check that it is a directory that can be written, and so are its files.', error);
}

function unusable(path: string, what: string, remedy: string, cause?: unknown): XapiError {
  return new XapiError('INTERNAL_ERROR', [`The database ${path} ${what} ${remedy}`], cause);
}
