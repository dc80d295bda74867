/**
 * The memory stream: libxc migration stream v3, as the Xen tree specifies it in docs/specs/libxc-migration-stream.
 *
 * An image header of 24 bytes, big-endian; a domain header of 16 bytes and the records after it, little-endian. A record is
 * u32 type, u32 length of the body, the body, zeros up to a multiple of 8 bytes. Types with bit 31 set are optional: who does
 * not know one skips it. Of an HVM guest the order is STATIC_DATA_END, pages, TSC_INFO, HVM_PARAMS, HVM_CONTEXT, END.
 */

import { pageSize } from '../../base/domain.js';
import { XapiError } from '../../base/errors.js';
import { frameLimits } from '../../base/protocol/hypervisor-protocol.js';

export const recordTypes = {
  end: 0x0,
  pageData: 0x1,
  tscInfo: 0x8,
  hvmContext: 0x9,
  hvmParams: 0xa,
  staticDataEnd: 0x10,
} as const;

export interface StreamRecord {
  readonly type: number;
  readonly body: Buffer;
}

export interface RecordHeader {
  readonly type: number;
  /** Bytes of the body. */
  readonly length: number;
  /** Bytes of the body and the padding behind it. */
  readonly paddedLength: number;
}

/** Pages with content; page `pfns[i]` has the bytes of `data` from `i` times the page size. */
export interface Pages {
  readonly pfns: readonly number[];
  readonly data: Buffer;
}

/**
 * Reads exactly so many bytes; rejects when the stream ends before. What it returns stays as it is until the next
 * record.
 */
export type ReadExactly = (bytes: number) => Promise<Buffer>;

/** Indices of HVM_PARAMS that we write. */
export const hvmParams = { storePfn: 1n, storeEvtchn: 2n, consolePfn: 17n, consoleEvtchn: 18n } as const;

/** Pages of one record as we write it. */
export const maxPagesWritten = 256;
export const recordHeaderBytes = 8;
export const streamHeadBytes = 40;

const maxRecordBytes = 128 << 20;
/**
 * Bytes of body that a record may have, where that is less. A context names every page that the guest has written, a
 * few bytes each; what the hypervisor can say is the limit.
 */
const maxBodyBytes = new Map<number, number>([
  [recordTypes.end, 0],
  [recordTypes.tscInfo, 24],
  [recordTypes.hvmContext, frameLimits.binary],
  [recordTypes.hvmParams, 8 + 16 * 1024],
  [recordTypes.staticDataEnd, 0],
]);
const xenfId = 0x58454e46;
const version = 3;
const hvmDomain = 2;
const pageShift = 12;
/** The version of Xen that the domain header names. */
const xenVersion = { major: 4, minor: 17 };
const firstOptionalType = 0x80000000;
const skipBytes = 1 << 16;
const knownTypes = new Set<number>(Object.values(recordTypes));
const typesWithoutData = new Set([0xd, 0xe, 0xf]);
/** Type in the upper half of a page's entry. */
const reservedBits = 0x0ff00000;
const reservedPageTypes = new Set([0x5, 0x6, 0x7, 0x8]);

/** Image header and domain header. */
export function encodeStreamHead(): Buffer {
  const head = Buffer.alloc(streamHeadBytes);
  head.fill(0xff, 0, 8);
  head.writeUInt32BE(xenfId, 8);
  head.writeUInt32BE(version, 12);
  head.writeUInt32LE(hvmDomain, 24);
  head.writeUInt16LE(pageShift, 28);
  head.writeUInt32LE(xenVersion.major, 32);
  head.writeUInt32LE(xenVersion.minor, 36);
  return head;
}

/** @throws INTERNAL_ERROR unless the 40 bytes begin a little-endian v3 stream of an HVM guest with pages of 4 KiB */
function assertStreamHead(head: Buffer): void {
  if (head.subarray(0, 8).some((byte) => byte !== 0xff)) throw damaged('no marker at its beginning');
  if (head.readUInt32BE(8) !== xenfId) throw damaged(`id 0x${head.readUInt32BE(8).toString(16)} instead of XENF`);
  if (head.readUInt32BE(12) !== version) throw damaged(`version ${head.readUInt32BE(12)}; supported: ${version}`);
  if ((head.readUInt16BE(16) & 1) !== 0) throw damaged('big-endian; supported: little-endian');
  if (head.readUInt32LE(24) !== hvmDomain)
    throw damaged(`domain type ${head.readUInt32LE(24)}; supported: ${hvmDomain}, HVM`);
  if (head.readUInt16LE(28) !== pageShift)
    throw damaged(`page shift ${head.readUInt16LE(28)}; supported: ${pageShift}`);
}

/** A whole record. */
export function encodeRecord(type: number, body: Uint8Array = Buffer.alloc(0)): Buffer {
  const record = Buffer.alloc(recordHeaderBytes + padded(body.length));
  writeRecordHeader(record, type, body.length);
  record.set(body, recordHeaderBytes);
  return record;
}

/**
 * Put a record's header at the beginning of `into`.
 * @param length of the body, without padding
 */
export function writeRecordHeader(into: Buffer, type: number, length: number): void {
  into.writeUInt32LE(type, 0);
  into.writeUInt32LE(length, 4);
}

/** Contents of a record's 8-byte header. */
export function readRecordHeader(bytes: Buffer): RecordHeader {
  const length = bytes.readUInt32LE(4);
  return { type: bytes.readUInt32LE(0), length, paddedLength: padded(length) };
}

/**
 * @param bytes the 8 bytes of a record's header
 * @param alsoKnown most bytes of body by type, of types that are not the specification's
 * @throws INTERNAL_ERROR when the record is longer than its type may be, 128 MiB in any case
 */
function decodeRecordHeader(bytes: Buffer, alsoKnown: ReadonlyMap<number, number> = new Map()): RecordHeader {
  const header = readRecordHeader(bytes);
  const { type, length } = header;
  const most = maxBodyBytes.get(type) ?? alsoKnown.get(type) ?? maxRecordBytes;
  if (length > most) throw damaged(`${nameOf(type)} of ${length} bytes; allowed: ${most}`);
  return header;
}

/**
 * Read a stream from its first byte to the last of its END record, and not one byte more.
 *
 * @param read reads the stream
 * @param alsoKnown mandatory types that the caller understands besides those of the specification, and the most bytes of
 *   body that each may have
 * @returns its records without STATIC_DATA_END, END and optional ones. A body is good until the next one is asked for
 * @throws INTERNAL_ERROR for an unknown mandatory record, pages before STATIC_DATA_END, and whatever `read` throws
 */
export async function* readRecords(
  read: ReadExactly,
  alsoKnown: ReadonlyMap<number, number>,
): AsyncGenerator<StreamRecord> {
  assertStreamHead(await read(streamHeadBytes));
  let staticDataEnded = false;
  for (;;) {
    const { type, length, paddedLength } = decodeRecordHeader(await read(recordHeaderBytes), alsoKnown);
    if (type >= firstOptionalType) {
      for (let left = paddedLength; left > 0; left -= skipBytes) await read(Math.min(left, skipBytes));
      continue;
    }
    if (!knownTypes.has(type) && !alsoKnown.has(type)) throw damaged(`unknown mandatory record ${nameOf(type)}`);
    if (!staticDataEnded && type !== recordTypes.staticDataEnd) throw damaged(`${nameOf(type)} before STATIC_DATA_END`);
    if (type === recordTypes.end) return;
    const body = (await read(paddedLength)).subarray(0, length);
    if (type === recordTypes.staticDataEnd) staticDataEnded = true;
    else yield { type, body };
  }
}

/** Bytes of the body's beginning that say which pages follow: counts and page numbers. */
export function pageHeadBytes(count: number): number {
  return 8 + 8 * count;
}

/**
 * Put the beginning of a PAGE_DATA body for ordinary pages into a buffer.
 * @param at where the body begins
 */
export function writePageHead(into: Buffer, at: number, pfns: readonly number[]): void {
  into.writeUInt32LE(pfns.length, at);
  into.writeUInt32LE(0, at + 4);
  writePfns(into, at + 8, pfns);
}

/** Put the array of page numbers, all of type NOTAB, into a buffer. */
export function writePfns(into: Buffer, at: number, pfns: readonly number[]): void {
  for (let index = 0; index < pfns.length; index += 1) {
    const pfn = pfns[index] as number;
    into.writeUInt32LE(pfn % 0x1_0000_0000, at + 8 * index);
    into.writeUInt32LE(Math.floor(pfn / 0x1_0000_0000), at + 8 * index + 4);
  }
}

/**
 * The numbers of the pages in an array that have data.
 * @throws INTERNAL_ERROR for a page of a reserved type, and where one of the bits 59 to 52 is set, which are reserved
 */
export function readPfns(from: Buffer, at: number, count: number): number[] {
  const pfns: number[] = [];
  for (let index = 0; index < count; index += 1) {
    const high = from.readUInt32LE(at + 8 * index + 4);
    const type = high >>> 28;
    if (reservedPageTypes.has(type)) throw damaged(`a page of the reserved type ${type}`);
    if ((high & reservedBits) !== 0) throw damaged(`a page number with reserved bits 0x${hex(high & reservedBits)}`);
    if (!typesWithoutData.has(type)) pfns.push((high & 0xfffff) * 0x1_0000_0000 + from.readUInt32LE(at + 8 * index));
  }
  return pfns;
}

/**
 * @param body of a PAGE_DATA record
 * @returns its pages with data, as views of the body
 * @throws INTERNAL_ERROR when counts and length do not fit together
 */
export function decodePageData(body: Buffer): Pages {
  const count = body.length < 8 ? 0 : body.readUInt32LE(0);
  if (count === 0) throw damaged('PAGE_DATA without pages');
  const dataAt = pageHeadBytes(count);
  if (dataAt > body.length) throw damaged(`PAGE_DATA of ${body.length} bytes for ${count} pages`);
  const pfns = readPfns(body, 8, count);
  const data = body.subarray(dataAt);
  if (data.length !== pfns.length * pageSize)
    throw damaged(`PAGE_DATA with ${data.length} bytes of ${pfns.length} pages`);
  return { pfns, data };
}

/** TSC_INFO of a guest whose time stamp counter is not emulated. */
export function encodeTscInfo(): Buffer {
  return encodeRecord(recordTypes.tscInfo, Buffer.alloc(24));
}

/** HVM_PARAMS: pairs of an index and a value. */
export function encodeHvmParams(params: ReadonlyMap<bigint, bigint>): Buffer {
  const body = Buffer.alloc(8 + 16 * params.size);
  body.writeUInt32LE(params.size, 0);
  let at = 8;
  for (const [index, value] of params) {
    body.writeBigUInt64LE(index, at);
    body.writeBigUInt64LE(value, at + 8);
    at += 16;
  }
  return encodeRecord(recordTypes.hvmParams, body);
}

/** @throws INTERNAL_ERROR when count and length do not fit together */
export function decodeHvmParams(body: Buffer): Map<bigint, bigint> {
  const count = body.length < 8 ? -1 : body.readUInt32LE(0);
  if (body.length !== 8 + 16 * count) throw damaged(`HVM_PARAMS of ${body.length} bytes for ${count} parameters`);
  const params = new Map<bigint, bigint>();
  for (let at = 8; at < body.length; at += 16) params.set(body.readBigUInt64LE(at), body.readBigUInt64LE(at + 8));
  return params;
}

/** The length with padding to a multiple of 8 bytes. */
export function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

function nameOf(type: number): string {
  const known = Object.entries(recordTypes).find(([, value]) => value === type);
  return known === undefined ? `0x${hex(type)}` : known[0].replace(/[A-Z]/g, '_$&').toUpperCase();
}

function hex(word: number): string {
  return word.toString(16).padStart(8, '0');
}

function damaged(what: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`memory stream: ${what}`]);
}
