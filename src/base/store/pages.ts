/**
 * The pages of a database's file, read from its bytes alone: whether every page is where it is looked for, and no page
 * that is used counts as free as well. Checksums of rows do not tell that the newest state has become an older one, or
 * that a later write will go where a row is.
 *
 * The layout is that of LMDB with 64-bit numbers (data version 2, mdb.c of LMDB's binding 3.5.6): MDB_page_header,
 * MDB_meta, MDB_db, MDB_node, MDB_ovpage, all little-endian.
 */

const headerBytes = 24;
const nodeBytes = 8;
const branch = 1;
const leaf = 2;
const overflow = 4;
/** A leaf's value is on pages of its own. */
const bigData = 1;
/** The root of a tree without pages. */
const none = 2 ** 64;
/** Set in a state until it is flushed. */
const overlappingSync = 0x1000;
/** LMDB's limit of a tree's depth. */
const deepest = 32;

interface Tree {
  readonly depth: number;
  readonly branchPages: number;
  readonly leafPages: number;
  readonly overflowPages: number;
  readonly entries: number;
  readonly root: number;
}

/** State of the database. */
interface Meta {
  readonly txnid: number;
  readonly lastPage: number;
  /** The lists of free pages, by the transaction that freed them. */
  readonly free: Tree;
  readonly main: Tree;
  /** Id of the machine's start in which the state was written. */
  readonly bootId: number;
  /** Written as a state that was flushed already. */
  readonly isFlushed: boolean;
}

interface File {
  readonly bytes: Buffer;
  readonly pageBytes: number;
  readonly meta: Meta;
  /** 1 for each page that was seen. */
  readonly seen: Uint8Array;
}

/**
 * Looks at the state that LMDB's binding takes: the newest, or after a loss of power the one that was flushed last.
 * @param bytes of a file to which nobody writes
 * @param bootId of the machine's last start, as the binding writes it
 * @throws Error that says what is wrong
 */
export function assertPages(bytes: Buffer, bootId: number): void {
  must(bytes.length >= 2 * 4096, 'it is cut short');
  const pageBytes = bytes.readUInt32LE(headerBytes + 24);
  must([4096, 8192, 16384, 32768, 65536].includes(pageBytes), 'the size of its pages is wrong');
  const states = [0, pageBytes].map((at) => readMeta(bytes, at));
  for (const [index, { txnid }] of states.entries()) must(txnid % 2 === index, 'a state has the number of another one');
  const [older, newest] = states.sort((a, b) => a.txnid - b.txnid) as [Meta, Meta];
  const flushed = readMeta(bytes, pageBytes / 2);
  must(flushed.txnid <= newest.txnid, 'its newest state is an older one');
  if (flushed.txnid === newest.txnid)
    must(isSame(treesOf(flushed), treesOf(newest)), 'its newest state is not the one that was flushed');
  const isNewest = newest.bootId === bootId || newest.isFlushed || flushed.txnid === 0;
  const meta = isNewest ? newest : flushed;
  const file = { bytes, pageBytes, meta, seen: new Uint8Array(meta.lastPage + 1) };
  const lists: Buffer[] = [];
  walk(file, meta.main, () => undefined);
  // A copy has no older state, and 1 as the number of each page.
  const written = numberAt(bytes, meta.main.root * pageBytes + 8);
  must(written === (older.txnid === 0 ? 1 : meta.txnid), 'its newest state is an older one');
  walk(file, meta.free, (value) => lists.push(value));
  for (const list of lists) takeFree(file, list);
}

/** Where bytes are to be written into a database's file. */
export interface Patch {
  readonly at: number;
  readonly bytes: Buffer;
}

/** The longest that LMDB's first two pages can be, in bytes. */
export const statesBytes = 2 * 65536;

/**
 * What marks the newest state as flushed, as LMDB's binding does it after a flush: a copy of it in the second half of the first page.
 * @param bytes the first `statesBytes` of a file that `assertPages` has found whole, or all of it
 * @param bootId as for `assertPages`
 * @returns undefined where the state that the binding takes is marked already
 */
export function flushedMark(bytes: Buffer, bootId: number): Patch | undefined {
  const pageBytes = bytes.readUInt32LE(headerBytes + 24);
  const [even, odd] = [readMeta(bytes, 0), readMeta(bytes, pageBytes)];
  const [newest, page] = odd.txnid > even.txnid ? [odd, pageBytes] : [even, 0];
  const flushed = readMeta(bytes, pageBytes / 2);
  if (newest.bootId !== bootId || newest.isFlushed || flushed.txnid >= newest.txnid) return undefined;
  const [from, to] = [headerBytes + 16, headerBytes + 144];
  const copied = Buffer.from(bytes.subarray(page + from, page + to));
  const flags = headerBytes + 28 - from;
  copied.writeUInt16LE(copied.readUInt16LE(flags) & ~overlappingSync, flags);
  return { at: pageBytes / 2 + from, bytes: copied };
}

function readMeta(bytes: Buffer, page: number): Meta {
  const at = page + headerBytes;
  return {
    txnid: numberAt(bytes, at + 128),
    lastPage: numberAt(bytes, at + 120),
    free: readTree(bytes, at + 24),
    main: readTree(bytes, at + 72),
    bootId: numberAt(bytes, at + 136),
    isFlushed: (bytes.readUInt16LE(at + 28) & overlappingSync) === 0,
  };
}

function treesOf({ lastPage, free, main }: Meta): object {
  return { lastPage, free, main };
}

function readTree(bytes: Buffer, at: number): Tree {
  return {
    depth: bytes.readUInt16LE(at + 6),
    branchPages: numberAt(bytes, at + 8),
    leafPages: numberAt(bytes, at + 16),
    overflowPages: numberAt(bytes, at + 24),
    entries: numberAt(bytes, at + 32),
    root: numberAt(bytes, at + 40),
  };
}

/** Take each page of a tree, and hand over the value of each of its leaves. */
function walk(file: File, tree: Tree, visit: (value: Buffer) => void): void {
  const { bytes, pageBytes } = file;
  const found = { branchPages: 0, leafPages: 0, overflowPages: 0, entries: 0 };
  const value = (node: number, end: number): Buffer => {
    const length = bytes.readUInt32LE(node);
    const at = node + nodeBytes + bytes.readUInt16LE(node + 6);
    if ((bytes.readUInt16LE(node + 4) & bigData) === 0) {
      must(at + length <= end, 'a row goes beyond its page');
      return bytes.subarray(at, at + length);
    }
    must(at + 24 <= end, 'a row goes beyond its page');
    const pages = numberAt(bytes, at + 16);
    const own = pageAt(file, numberAt(bytes, at), pages);
    found.overflowPages += pages;
    must(
      bytes.readUInt16LE(own + 18) === overflow && bytes.readUInt32LE(own + 20) === pages,
      'a page is of another kind',
    );
    must(headerBytes + length <= pages * pageBytes, 'a row goes beyond its pages');
    return bytes.subarray(own + headerBytes, own + headerBytes + length);
  };
  const walkPage = (page: number, depth: number): void => {
    const at = pageAt(file, page, 1);
    const isLeaf = depth === tree.depth;
    must(bytes.readUInt16LE(at + 18) === (isLeaf ? leaf : branch), 'a page is of another kind');
    found[isLeaf ? 'leafPages' : 'branchPages'] += 1;
    const [lower, upper] = [bytes.readUInt16LE(at + 20), bytes.readUInt16LE(at + 22)];
    must(lower % 2 === 0 && lower <= upper && upper <= pageBytes - headerBytes, 'a page has a wrong length');
    for (let each = 0; each < lower; each += 2) {
      const node = at + headerBytes + bytes.readUInt16LE(at + headerBytes + each);
      must(node + nodeBytes + bytes.readUInt16LE(node + 6) <= at + pageBytes, 'a row goes beyond its page');
      if (!isLeaf) {
        walkPage(bytes.readUIntLE(node, 6), depth + 1);
        continue;
      }
      found.entries += 1;
      visit(value(node, at + pageBytes));
    }
  };
  must(tree.depth <= deepest, 'a tree is too deep');
  if (tree.root !== none) walkPage(tree.root, 1);
  must(isSame(found, countsOf(tree)), 'pages or rows are missing');
}

function countsOf({ branchPages, leafPages, overflowPages, entries }: Tree): object {
  return { branchPages, leafPages, overflowPages, entries };
}

/** A list has its length first, then a page each; a negative number is how many pages begin at the next one. */
function takeFree(file: File, list: Buffer): void {
  const length = numberAt(list, 0);
  must(8 * (length + 1) <= list.length, 'a list of free pages is cut short');
  for (let at = 8; at <= 8 * length; at += 8) {
    const number = Number(list.readBigInt64LE(at));
    if (number > 0) take(file, number, 1);
    if (number >= 0) continue;
    at += 8;
    must(at <= 8 * length, 'a list of free pages is cut short');
    take(file, numberAt(list, at), -number);
  }
}

/**
 * Take pages that follow each other.
 * @returns where the first one begins
 */
function pageAt(file: File, page: number, pages: number): number {
  take(file, page, pages);
  const at = page * file.pageBytes;
  must(at + pages * file.pageBytes <= file.bytes.length, 'pages are missing at its end');
  must(numberAt(file.bytes, at) === page, `page ${page} is another one`);
  must(numberAt(file.bytes, at + 8) <= file.meta.txnid, `page ${page} is newer than the newest state`);
  return at;
}

function take({ meta, seen }: File, page: number, pages: number): void {
  must(page >= 2 && pages >= 1 && page + pages - 1 <= meta.lastPage, `there is no page ${page}`);
  for (let each = page; each < page + pages; each++) {
    must(seen[each] === 0, `page ${each} is used twice`);
    seen[each] = 1;
  }
}

/** Read a number of 8 bytes; exact below 2^53, beyond which nothing here is right. */
function numberAt(bytes: Buffer, at: number): number {
  return Number(bytes.readBigUInt64LE(at));
}

function isSame(a: object, b: object): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function must(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise);
}
