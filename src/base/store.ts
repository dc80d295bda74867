/**
 * Durable rows: tables of rows by id, in one database on disk (LMDB). A write that was acknowledged outlives the process,
 * however it ends; after `flushed` it outlives the machine's power as well. Reads see acknowledged writes, not those under way.
 *
 * A database that this version cannot use, newer or damaged, is refused as it is and never emptied.
 *
 * What its disk has no room for is refused, and nothing of it is written; there may be room for the next. A write that fails
 * otherwise is the store's last.
 */
import { within } from './deadline.js';
import { messageOf, XapiError } from './errors.js';
import {
  copyDatabase,
  currentFormat,
  type OpenDatabase,
  openInFormat,
  rowsIn,
  type StoreDatabase,
  type StoreFormat,
} from './store-format.js';
import type { WriteSize } from './store-room.js';

/** One table of the store. Rows are plain JSON-like values; dates and byte arrays are kept as such. */
export interface Table<T> {
  get(id: string): T | undefined;
  /** Resolves when the row outlives a kill of the process. @throws OUT_OF_SPACE [path]: nothing was written */
  put(id: string, row: T): Promise<void>;
  /** Resolves as `put`; fine when there is no such row. */
  remove(id: string): Promise<void>;
  /** Every row with its id, in the order of the ids by code point. */
  entries(): Iterable<[id: string, row: T]>;
  /** A row to put, or with undefined to remove, for `putMany`. */
  change(id: string, row: T | undefined): RowChange;
}

export interface RowChange {
  readonly table: string;
  readonly id: string;
  readonly row: unknown;
}

export interface Store {
  table<T>(name: string): Table<T>;
  /** All of the changes or, should the process or the write fail, none; resolves as `put`. */
  putMany(changes: readonly RowChange[]): Promise<void>;
  /** Resolves when everything acknowledged so far outlives a loss of power. @throws INTERNAL_ERROR where that takes over 10 s */
  flushed(): Promise<void>;
  /** Copy everything that is there now to a directory, which is made or is empty. */
  copy(to: string): Promise<void>;
  /** Waits for writes under way. */
  close(): Promise<void>;
}

const flushTimeoutMs = 10_000;

export interface StoreInit {
  /** That of this version where absent. */
  readonly format?: StoreFormat;
  /** How much longer than what is in it the database's file is kept, in bytes; 2 MiB where absent. */
  readonly reserve?: number;
  /**
   * Told the error of a write that failed, for which there was room. The library is not sound after that: nothing more is written,
   * and the process should end.
   */
  readonly onFailed?: (error: XapiError) => void;
}

const defaultReserve = 2 ** 21;

/** Writes changes, all or none. */
type Write = (changes: readonly RowChange[]) => Promise<void>;

/**
 * Open the store in a directory, which is made if need be.
 * @throws XapiError INTERNAL_ERROR, with the path and what to do, for a damaged database, one whose format is not known, and one
 *   that cannot be opened; OUT_OF_SPACE [path] where its disk is full
 */
export function openStore(
  path: string,
  { format = currentFormat, reserve = defaultReserve, onFailed = () => undefined }: StoreInit = {},
): Store {
  const open = openInFormat(path, format, reserve);
  const { database, room } = open;
  const write = createWrite(path, open, onFailed);
  return {
    table: (name) => openTable(database, name, write),
    putMany: write,
    async flushed() {
      // It never comes where a write behind it failed, as on a full disk.
      await within(database.flushed, flushTimeoutMs, `the database ${path} did not reach its disk`);
    },
    copy: (to) => copyDatabase(database, to),
    async close() {
      await database.close();
      room.close();
    },
  };
}

function openTable<T>(database: StoreDatabase, table: string, write: Write): Table<T> {
  if (!/^[\w.-]{1,100}$/.test(table)) throw new XapiError('INTERNAL_ERROR', [`"${table}" is no name for a table`]);
  const change = (id: string, row: T | undefined): RowChange => ({ table, id, row });
  return {
    get: (id) => database.get([table, id]) as T | undefined,
    put: (id, row) => write([change(id, row)]),
    remove: (id) => write([change(id, undefined)]),
    entries: () => rowsIn(database, table) as Iterable<[id: string, row: T]>,
    change,
  };
}

function createWrite(path: string, { database, room }: OpenDatabase, onFailed: (error: XapiError) => void): Write {
  let failed: XapiError | undefined;
  const fail = (error: unknown): XapiError => {
    const what = `Writing to the database ${path} failed: ${messageOf(error)}. ${remedyFor(messageOf(error))}`;
    return new XapiError('INTERNAL_ERROR', [what], error);
  };
  return async (changes) => {
    // Rows are checked before any is written, so that a batch is never cut short by a bad one.
    const size = sizeOf(changes);
    const ended = await room.take(size).catch((error: unknown) => {
      throw error instanceof XapiError ? error : fail(error);
    });
    try {
      if (failed !== undefined) throw failed;
      const error = await commit(database, changes);
      if (error === undefined) return;
      if (failed === undefined) {
        failed = fail(error);
        onFailed(failed);
      }
      throw failed;
    } finally {
      ended();
    }
  };
}

/** @returns what went wrong, where it was not written */
async function commit(database: StoreDatabase, changes: readonly RowChange[]): Promise<unknown> {
  // Each row's promise fails with the batch's.
  const written: Promise<boolean>[] = [];
  const batch = database.batch(() => {
    for (const { table, id, row } of changes) {
      written.push(row === undefined ? database.remove([table, id]) : database.put([table, id], row));
    }
  });
  const [failed] = (await Promise.allSettled([batch, ...written])).filter(({ status }) => status === 'rejected');
  return failed === undefined ? undefined : causeOf((failed as PromiseRejectedResult).reason);
}

function remedyFor(message: string): string {
  return /^MDB_(CORRUPTED|PAGE_NOTFOUND)/.test(message)
    ? 'It is damaged: stop the daemon and put a copy of the directory back.'
    : 'Mend that, then start the daemon anew.';
}

/** LMDB's binding says later, in a promise of its own, why a commit failed. */
async function causeOf(error: unknown): Promise<unknown> {
  const { commitError } = error as { commitError?: Promise<never> };
  return commitError === undefined ? error : await commitError.catch((cause: unknown) => cause);
}

/** LMDB's longest key is 1978 bytes. */
const longestId = 1000;

/** What a key and its row have beside their own bytes, at the most: lengths, and what LMDB keeps of each. */
const overheadBytes = 64;

/** What the changes come to. @throws INTERNAL_ERROR for what cannot be stored */
function sizeOf(changes: readonly RowChange[]): WriteSize {
  const size = { puts: 0, removes: 0, bytes: 0 };
  for (const { table, id, row } of changes) {
    const where = `row "${id}" of table ${table}`;
    if (id === '' || Buffer.byteLength(id) > longestId || /[\0\u{10ffff}]/u.test(id)) {
      throw new XapiError('INTERNAL_ERROR', [`${where}: an id has 1 to ${longestId} bytes`]);
    }
    if (row === undefined) size.removes += 1;
    else {
      size.puts += 1;
      size.bytes += overheadBytes + textBytes(table) + textBytes(id) + storedBytes(row, where);
    }
  }
  return size;
}

/** What a value has at the most, encoded as MessagePack. @throws INTERNAL_ERROR for one that cannot be stored */
function storedBytes(value: unknown, where: string): number {
  if (typeof value === 'string') return textBytes(value);
  if (value === null || typeof value === 'boolean' || value === undefined) return 4;
  if (typeof value === 'number' && Number.isFinite(value)) return 9;
  if (value instanceof Date) return 16;
  if (value instanceof Uint8Array) return value.length + 8;
  let bytes = 16;
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) bytes += storedBytes(item, `${where}, [${index}]`);
  } else if (typeof value === 'object' && isPlain(value)) {
    for (const [name, item] of Object.entries(value)) bytes += textBytes(name) + storedBytes(item, `${where}, ${name}`);
  } else {
    throw new XapiError('INTERNAL_ERROR', [`${where}: ${String(value)} cannot be stored`]);
  }
  return bytes;
}

function textBytes(text: string): number {
  return 8 + Buffer.byteLength(text);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
