/**
 * Durable rows: tables of rows by id, in one database on disk (LMDB). A write that was acknowledged outlives the process,
 * however it ends; after `flushed` it outlives the machine's power as well. Reads see acknowledged writes, not those under way.
 *
 * A database that this version cannot use, newer or damaged, is refused as it is and never emptied.
 *
 * What its disk has no room for is refused, and nothing of it is written; there may be room for the next. A write that fails
 * otherwise is the store's last.
 */
import { within } from '../deadline.js';
import { messageOf, XapiError } from '../errors.js';
import {
  copyDatabase,
  currentFormat,
  type OpenDatabase,
  openInFormat,
  rowsIn,
  type StoreDatabase,
  type StoreFormat,
} from './format.js';
import type { WriteSize } from './room.js';
import { checksumOf, openRow, sealRow, type Total, totalAfter, totalKey } from './row.js';

/**
 * One table of the store. Rows are plain JSON-like values, maps with any keys and texts of any characters; dates and
 * byte arrays are kept as such. What reads rows throws an Error that names a damaged one.
 */
export interface Table<T> {
  get(id: string): T | undefined;
  /**
   * Resolves when the row outlives a kill of the process.
   * @throws OUT_OF_SPACE [path]: nothing was written
   */
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
  /**
   * Resolves when everything acknowledged so far outlives a loss of power.
   * @throws INTERNAL_ERROR where that takes over 10 s
   */
  flushed(): Promise<void>;
  /** Copy everything that is there now to a directory, which is made or is empty. */
  copy(to: string): Promise<void>;
  /** Waits for writes under way. Whoever reads or writes from then on is refused with INTERNAL_ERROR. */
  close(): Promise<void>;
}

const flushTimeoutMs = 10_000;

export interface StoreInit {
  /** Format to write; absent: that of this version. */
  readonly format?: StoreFormat;
  /** How much longer than what is in it the database's file is kept, in bytes; 2 MiB where absent. */
  readonly reserve?: number;
  /**
   * Told the error of a write that failed, for which there was room. The library is not sound after that: nothing more
   * is written, and the process should end.
   */
  readonly onFailed?: (error: XapiError) => void;
}

const defaultReserve = 2 ** 21;

/** Writes changes, all or none. */
type Write = (changes: readonly RowChange[]) => Promise<void>;

/**
 * Open the store in a directory, which is made if need be.
 * @throws XapiError INTERNAL_ERROR, with the path and what to do, for a damaged database, one whose format is not
 *   known, and one that cannot be opened; OUT_OF_SPACE [path] where its disk is full
 */
export function openStore(
  path: string,
  { format = currentFormat, reserve = defaultReserve, onFailed = () => undefined }: StoreInit = {},
): Store {
  const open = openInFormat(path, format, reserve);
  const { database, room } = open;
  const use = createUse(path);
  const write = createWrite(path, open, onFailed);
  const writeWhileOpen: Write = (changes) => use.during(() => write(changes));
  return {
    table: (name) => openTable(database, name, writeWhileOpen, use.assertOpen),
    putMany: writeWhileOpen,
    async flushed() {
      use.assertOpen();
      // It never comes where a write behind it failed, as on a full disk.
      await within(database.flushed, flushTimeoutMs, `the database ${path} did not reach its disk`);
    },
    copy: (to) => use.during(() => copyDatabase(database, to)),
    async close() {
      await use.end();
      await database.close();
      room.close();
    },
  };
}

/**
 * Who uses a store, until it is closed: LMDB's binding (3.5.6) fails later, in a timer of its own, where it is used
 * while it closes.
 */
interface Use {
  /** @throws INTERNAL_ERROR from the beginning of the end on */
  assertOpen(): void;
  /** Do what has to be done before the end. @throws as `assertOpen` */
  during<T>(work: () => Promise<T>): Promise<T>;
  /** Refuse further use. Resolves when what was under way is done. */
  end(): Promise<void>;
}

function createUse(path: string): Use {
  const underWay = new Set<Promise<unknown>>();
  let isClosed = false;
  const assertOpen = (): void => {
    if (isClosed) throw new XapiError('INTERNAL_ERROR', [`The database ${path} is closed.`]);
  };
  return {
    assertOpen,
    async during(work) {
      assertOpen();
      const done = work();
      underWay.add(done);
      return done.finally(() => underWay.delete(done));
    },
    async end() {
      isClosed = true;
      await Promise.allSettled(underWay);
    },
  };
}

/** @param assertOpen throws where the store is closed */
function openTable<T>(database: StoreDatabase, table: string, write: Write, assertOpen: () => void): Table<T> {
  if (!/^[\w.-]{1,100}$/.test(table)) throw new XapiError('INTERNAL_ERROR', [`"${table}" is no name for a table`]);
  const change = (id: string, row: T | undefined): RowChange => ({ table, id, row });
  return {
    get(id) {
      assertOpen();
      const sealed = database.get([table, id]);
      return sealed === undefined ? undefined : (openRow([table, id], sealed) as T);
    },
    put: (id, row) => write([change(id, row)]),
    remove: (id) => write([change(id, undefined)]),
    entries() {
      assertOpen();
      return rowsIn(database, table) as Iterable<[id: string, row: T]>;
    },
    change,
  };
}

function createWrite(
  path: string,
  { database, room, total }: OpenDatabase,
  onFailed: (error: XapiError) => void,
): Write {
  const commit = createCommit(database, total);
  let failed: XapiError | undefined;
  const fail = (error: unknown): XapiError => {
    const what = `Writing to the database ${path} failed: ${messageOf(error)}. ${remedyFor(messageOf(error))}`;
    return new XapiError('INTERNAL_ERROR', [what], error);
  };
  return async (changes) => {
    // Rows are checked before any is written, so that a batch is never cut short by a bad one.
    const sealed = changes.map(seal);
    const ended = await room.take(sizeOf(sealed)).catch((error: unknown) => {
      throw error instanceof XapiError ? error : fail(error);
    });
    try {
      if (failed !== undefined) throw failed;
      const error = await commit(sealed);
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

/** A row to put, or with undefined to remove, as it stands in the database. */
interface SealedChange {
  readonly key: string[];
  readonly sealed: Buffer | undefined;
}

/**
 * @param total of the rows that are there
 * @returns writes changes and the total that they lead to; resolves with what went wrong, where they were not written:
 *   nothing may be written after that
 */
function createCommit(database: StoreDatabase, total: Total): (changes: readonly SealedChange[]) => Promise<unknown> {
  /** Values of rows that writes under way lead to, which reads do not see yet. */
  const pending = new Map<string, SealedChange>();
  let current = total;
  const checksum = ({ key, sealed }: SealedChange): number | undefined => sealed && checksumOf(key, sealed);
  const present = (key: string[]): SealedChange =>
    pending.get(String(key)) ?? { key, sealed: database.get(key) as Buffer | undefined };
  return async (changes) => {
    for (const change of changes) {
      current = totalAfter(current, checksum(present(change.key)), checksum(change));
      pending.set(String(change.key), change);
    }
    const all: SealedChange[] = [...changes, { key: totalKey, sealed: sealRow(totalKey, current) }];
    // Each row's promise fails with the batch's.
    const written: Promise<boolean>[] = [];
    const batch = database.batch(() => {
      for (const { key, sealed } of all) {
        written.push(sealed === undefined ? database.remove(key) : database.put(key, sealed));
      }
    });
    const [failed] = (await Promise.allSettled([batch, ...written])).filter(({ status }) => status === 'rejected');
    for (const change of changes) {
      if (pending.get(String(change.key)) === change) pending.delete(String(change.key));
    }
    return failed === undefined ? undefined : causeOf((failed as PromiseRejectedResult).reason);
  };
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

/** @throws INTERNAL_ERROR for what cannot be stored */
function seal({ table, id, row }: RowChange): SealedChange {
  const where = `row "${id}" of table ${table}`;
  if (id === '' || Buffer.byteLength(id) > longestId || /[\0\u{10ffff}\p{Surrogate}]/u.test(id)) {
    throw new XapiError('INTERNAL_ERROR', [`${where}: an id has 1 to ${longestId} bytes`]);
  }
  if (row !== undefined) assertStorable(row, where);
  const key = [table, id];
  return { key, sealed: row === undefined ? undefined : sealRow(key, row) };
}

/** Give the size of a write of the changes, with the total. */
function sizeOf(changes: readonly SealedChange[]): WriteSize {
  const size = { puts: 1, removes: 0, bytes: 2 * overheadBytes };
  for (const { key, sealed } of changes) {
    if (sealed === undefined) size.removes += 1;
    else {
      size.puts += 1;
      size.bytes += overheadBytes + Buffer.byteLength(key.join()) + sealed.length;
    }
  }
  return size;
}

/** @throws INTERNAL_ERROR that names the part of a row that cannot be stored */
function assertStorable(value: unknown, where: string): void {
  if (value === null || ['string', 'boolean', 'undefined'].includes(typeof value) || Number.isFinite(value)) return;
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
