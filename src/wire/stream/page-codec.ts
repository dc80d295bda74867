/** Compressed pages in the memory stream; page-codec.md beside this file specifies the record. */
import { crc32 } from 'node:zlib';
import { pageSize } from '../../base/domain.js';
import { messageOf, XapiError } from '../../base/errors.js';
import { assertFrameBounded } from '../../base/zstd/frame.js';
import { zstd } from '../../base/zstd/zstd.js';
import * as libxc from './libxc-stream.js';

/** The record's type: private, mandatory. */
export const compressedPagesType = 0x0f5a5354;
export const maxPagesCompressed = 1024;

/** The longest body that a record may have: a head, and a payload that is no longer than its pages. */
export const maxCompressedBody = 24 + maxPagesCompressed * (8 + pageSize);

export type Codec = 'stored' | 'zstd' | 'zero' | 'repeated';

/** A decoded record; `payload` is still compressed, and a view of the record's body. */
export interface CompressedPages {
  readonly codec: Codec;
  readonly pfns: readonly number[];
  /** Bytes of the pages. */
  readonly rawLength: number;
  readonly payload: Buffer;
}

const codecs: readonly Codec[] = ['stored', 'zstd', 'zero', 'repeated'];
/** Bytes of the word of which a repeated page consists. */
export const wordBytes = 8;
/** Bytes of a body before its page numbers. */
export const headBytes = 24;
const checksummedFrom = 20;

/**
 * A record, in pieces to be written one after the other so that the payload is not copied.
 * @param pfns numbers of 1 to 1024 ordinary pages
 * @param payload of the codec: the pages, their frame, nothing, or the word of each
 */
export function encodePages(codec: Codec, pfns: readonly number[], payload: Buffer): Buffer[] {
  const head = Buffer.alloc(libxc.recordHeaderBytes + headBytes + 8 * pfns.length);
  const bodyLength = headBytes + 8 * pfns.length + payload.length;
  libxc.writeRecordHeader(head, compressedPagesType, bodyLength);
  const body = head.subarray(libxc.recordHeaderBytes);
  body.writeUInt32LE(codecs.indexOf(codec), 0);
  body.writeUInt32LE(pfns.length, 8);
  body.writeUInt32LE(pfns.length * pageSize, 12);
  libxc.writePfns(body, headBytes, pfns);
  body.writeUInt32LE(crc32(payload, crc32(body.subarray(checksummedFrom))), 16);
  return [head, payload, Buffer.alloc(libxc.padded(bodyLength) - bodyLength)];
}

/**
 * @param body of a record
 * @throws INTERNAL_ERROR for anything that the format does not allow, a wrong checksum, or a frame that could expand to more
 *   than the pages
 */
export function decodePages(body: Buffer): CompressedPages {
  if (body.length < headBytes) throw damaged(`a body of ${body.length} bytes`);
  const codec = codecs[body.readUInt32LE(0)];
  if (codec === undefined) throw damaged(`codec ${body.readUInt32LE(0)}; known: 0 to ${codecs.length - 1}`);
  if (body.readUInt32LE(4) !== 0) throw damaged(`flags 0x${body.readUInt32LE(4).toString(16)}; known: none`);
  const count = body.readUInt32LE(8);
  if (count < 1 || count > maxPagesCompressed) throw damaged(`${count} pages; allowed: 1 to ${maxPagesCompressed}`);
  const rawLength = body.readUInt32LE(12);
  if (rawLength !== count * pageSize) throw damaged(`a raw length of ${rawLength} for ${count} pages`);
  const payloadAt = headBytes + 8 * count;
  if (body.length < payloadAt) throw damaged(`a body of ${body.length} bytes for ${count} pages`);
  if (crc32(body.subarray(checksummedFrom)) !== body.readUInt32LE(16)) throw damaged('a wrong checksum');
  const pfns = libxc.readPfns(body, headBytes, count);
  if (pfns.length !== count) throw damaged('a page of a type without data');
  const payload = body.subarray(payloadAt);
  assertPayload(codec, payload, rawLength);
  return { codec, pfns, rawLength, payload };
}

/**
 * One frame of pages, made in another thread.
 * @param level zstd's, -7 to 9: with higher ones the blocks of a frame are no longer full, and a reader refuses it
 *   where it does not say its content size
 * @param room frameRoom(pages.length) bytes, where the frame may be put; neither buffer must change before the promise
 *   settles
 */
export function compressPages(pages: Buffer, level = 1, room?: Buffer): Promise<Buffer> {
  return zstd.compress(pages, level, room);
}

/** The same in this thread, which costs less. */
export function compressPagesHere(pages: Buffer, level: number, room?: Buffer): Buffer {
  return zstd.compressSync(pages, level, room);
}

/**
 * The pages of a decoded record, one after the other.
 * @param room at least rawLength bytes, where they may be put; neither it nor the record's body must change before the
 *   promise settles
 * @throws INTERNAL_ERROR when the payload does not expand to just these pages
 */
export async function expandPages(pages: CompressedPages, room = roomFor(pages)): Promise<Buffer> {
  const { codec, payload, rawLength } = pages;
  if (codec !== 'zstd') return expandPagesHere(pages, room);
  return checkedLength(pages, await zstd.expand(payload, room.subarray(0, rawLength)).catch(refuseFrame));
}

/**
 * The same in this thread, which costs less.
 * @throws as the other
 */
export function expandPagesHere(pages: CompressedPages, room = roomFor(pages)): Buffer {
  const { codec, payload, rawLength } = pages;
  if (codec === 'stored') return payload;
  const data = room.subarray(0, rawLength);
  if (codec === 'zstd') return checkedLength(pages, expandHere(payload, data));
  if (codec === 'zero') return data.fill(0);
  for (let at = 0; at < rawLength; at += pageSize) {
    const word = (at / pageSize) * wordBytes;
    data.fill(payload.subarray(word, word + wordBytes), at, at + pageSize);
  }
  return data;
}

function roomFor({ rawLength }: CompressedPages): Buffer {
  return Buffer.allocUnsafe(rawLength);
}

function expandHere(frame: Buffer, room: Buffer): Buffer {
  try {
    return zstd.expandSync(frame, room);
  } catch (error) {
    return refuseFrame(error);
  }
}

function refuseFrame(error: unknown): never {
  throw damaged(`a frame that does not expand: ${messageOf(error)}`);
}

function checkedLength({ rawLength }: CompressedPages, data: Buffer): Buffer {
  if (data.length !== rawLength) throw damaged(`a frame of ${data.length} bytes instead of ${rawLength}`);
  return data;
}

/**
 * The PAGE_DATA record, with its header, that means the same as the record with this body.
 * @throws as decoding it
 */
export async function expandRecord(body: Buffer): Promise<Buffer> {
  const pages = decodePages(body);
  const data = await expandPages(pages);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(pages.pfns.length, 0);
  const pfns = body.subarray(headBytes, headBytes + 8 * pages.pfns.length);
  return libxc.encodeRecord(libxc.recordTypes.pageData, Buffer.concat([head, pfns, data]));
}

function assertPayload(codec: Codec, payload: Buffer, rawLength: number): void {
  if (codec === 'zstd') {
    if (payload.length >= rawLength) throw damaged(`a frame of ${payload.length} bytes for ${rawLength} of pages`);
    assertFrameBounded(payload, rawLength);
    return;
  }
  const expected = { stored: rawLength, zero: 0, repeated: (rawLength / pageSize) * wordBytes }[codec];
  if (payload.length !== expected) throw damaged(`a payload of ${payload.length} bytes; expected: ${expected}`);
}

function damaged(what: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`compressed pages: ${what}`]);
}
