/**
 * Durable rows: tables of rows by id, in one database on disk (LMDB). A write that was acknowledged outlives the process,
 * however it ends; after `flushed` it outlives the machine's power as well. Reads see acknowledged writes, not those under way.
 *
 * A database that this version cannot use, newer or damaged, is refused as it is and never emptied.
 */
import { within } from './deadline.js';
import { messageOf, XapiError } from './errors.js';
import {
  copyDatabase,
  currentFormat,
  openInFormat,
  rowsIn,
  type StoreDatabase,
  type StoreFormat,
} from './store-format.js';

/** One table of the store. Rows are plain JSON-like values; dates and byte arrays are kept as such. */
export interface Table<T> {
  get(id: string): T | undefined;
  /** Resolves when the row outlives a kill of the process. */
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

/**
 * Open the store in a directory, which is made if need be.
 * @param format that of this version, unless given
 * @throws XapiError INTERNAL_ERROR, with the path and what to do, for a damaged database, one whose format is not known, and one
 *   that cannot be opened
 */
export function openStore(path: string, format: StoreFormat = currentFormat): Store {
  const database = openInFormat(path, format);
  return {
    table: (name) => openTable(database, path, name),
    putMany: (changes) => write(database, path, changes),
    async flushed() {
      // It never comes where a write behind it failed, as on a full disk.
      await within(database.flushed, flushTimeoutMs, `the database ${path} did not reach its disk`);
    },
    copy: (to) => copyDatabase(database, to),
    close: () => database.close(),
  };
}

function openTable<T>(database: StoreDatabase, path: string, table: string): Table<T> {
  if (!/^[\w.-]{1,100}$/.test(table)) throw new XapiError('INTERNAL_ERROR', [`"${table}" is no name for a table`]);
  const change = (id: string, row: T | undefined): RowChange => ({ table, id, row });
  return {
    get: (id) => database.get([table, id]) as T | undefined,
    put: (id, row) => write(database, path, [change(id, row)]),
    remove: (id) => write(database, path, [change(id, undefined)]),
    entries: () => rowsIn(database, table) as Iterable<[id: string, row: T]>,
    change,
  };
}

/** Rows are checked before any is written, so that a batch is never cut short by a bad one. */
async function write(database: StoreDatabase, path: string, changes: readonly RowChange[]): Promise<void> {
  for (const change of changes) assertChange(change);
  // Each row's promise fails with the batch's.
  const written: Promise<boolean>[] = [];
  const batch = database.batch(() => {
    for (const { table, id, row } of changes) {
      written.push(row === undefined ? database.remove([table, id]) : database.put([table, id], row));
    }
  });
  const [failed] = (await Promise.allSettled([batch, ...written])).filter(({ status }) => status === 'rejected');
  if (failed === undefined) return;
  const error = await causeOf((failed as PromiseRejectedResult).reason);
  const what = `Writing to the database ${path} failed: ${messageOf(error)}. ${remedyFor(messageOf(error))}`;
  throw new XapiError('INTERNAL_ERROR', [what], error);
}

/** The library is not sound after a write has failed. */
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

function assertChange({ table, id, row }: RowChange): void {
  const where = `row "${id}" of table ${table}`;
  if (id === '' || Buffer.byteLength(id) > longestId || /[\0\u{10ffff}]/u.test(id)) {
    throw new XapiError('INTERNAL_ERROR', [`${where}: an id has 1 to ${longestId} bytes`]);
  }
  if (row !== undefined) assertStorable(row, where);
}

function assertStorable(value: unknown, where: string): void {
  if (value === null || ['string', 'boolean', 'undefined'].includes(typeof value)) return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (value instanceof Date || value instanceof Uint8Array) return;
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) assertStorable(item, `${where}, [${index}]`);
  } else if (typeof value === 'object' && isPlain(value)) {
    for (const [name, item] of Object.entries(value)) assertStorable(item, `${where}, ${name}`);
  } else {
    throw new XapiError('INTERNAL_ERROR', [`${where}: ${String(value)} cannot be stored`]);
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
