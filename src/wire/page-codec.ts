/** Compressed pages in the memory stream; page-codec.md beside this file specifies the record. */
import { crc32 } from 'node:zlib';
import { _NapiBindings as zstdHere } from '@cloudpss/zstd/napi';
import * as zstdPool from '@mongodb-js/zstd/bindings.js';
import { messageOf, XapiError } from '../base/errors.js';
import { pageSize } from '../base/hypervisor-protocol.js';
import * as libxc from './libxc-stream.js';
import { assertFrameBounded, largestBlock } from './zstd-frame.js';

/** The record's type: private, mandatory. */
export const compressedPagesType = 0x0f5a5354;
export const maxPagesCompressed = 1024;

/** The longest body that a record may have: a head, and a payload that is no longer than its pages. */
export const maxCompressedBody = 24 + maxPagesCompressed * (8 + pageSize);

/** What a destination that restores such records announces, in a stream with a checksum (checked-stream.ts). */
export const compressedFormat = 'inline-zstd/3';
/** What one does that restores them in a stream without one. */
export const uncheckedCompressedFormat = 'inline-zstd/2';

export type Codec = 'stored' | 'zstd' | 'zero' | 'repeated';

/** A decoded record; `payload` is still compressed, and a view of the record's body. */
export interface CompressedPages {
  readonly codec: Codec;
  readonly pfns: readonly number[];
  /** Bytes of the pages. */
  readonly rawLength: number;
  readonly payload: Buffer;
  /** Whether the payload is a frame that says how long its content is: it is expanded in this thread, into just that. */
  readonly isSized: boolean;
}

const codecs: readonly Codec[] = ['stored', 'zstd', 'zero', 'repeated'];
/** Bytes of the word of which a repeated page consists. */
export const wordBytes = 8;
/** Of a body, before its page numbers. */
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
  return { codec, pfns, rawLength, payload, isSized: checkPayload(codec, payload, rawLength) };
}

/**
 * One frame of pages, made in another thread. The pages must not change before the promise settles.
 * @param level zstd's, -7 to 9: with higher ones the blocks of a frame are no longer full, and a reader refuses it, as it does not
 *   say its content size
 */
export function compressPages(pages: Buffer, level = 1): Promise<Buffer> {
  return zstdPool.compress(pages, level);
}

/** The same in this thread, which costs a tenth less; the frame says its content size. */
export function compressPagesHere(pages: Buffer, level: number): Buffer {
  return zstdHere.compress(pages, level);
}

/**
 * The pages of a decoded record, one after the other. The record's body must not change before the promise settles.
 * @throws INTERNAL_ERROR when the payload does not expand to just these pages
 */
export async function expandPages(pages: CompressedPages): Promise<Buffer> {
  // The pool's library makes as much room as the blocks need, whatever the frame says.
  if (pages.codec !== 'zstd' || pages.isSized) return expandPagesHere(pages);
  return checkedLength(pages, await zstdPool.decompress(pages.payload).catch(refuseFrame));
}

/** The same in this thread, which costs less. @throws as the other */
export function expandPagesHere(pages: CompressedPages): Buffer {
  const { codec, payload, rawLength } = pages;
  if (codec === 'stored') return payload;
  if (codec === 'zstd') return checkedLength(pages, expandHere(payload, rawLength));
  const data = Buffer.alloc(rawLength);
  if (codec === 'repeated') {
    for (let at = 0; at < rawLength; at += pageSize) {
      const word = (at / pageSize) * wordBytes;
      data.fill(payload.subarray(word, word + wordBytes), at, at + pageSize);
    }
  }
  return data;
}

function expandHere(frame: Buffer, rawLength: number): Buffer {
  try {
    return zstdHere.decompress(frame, rawLength + 2 * largestBlock);
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

/** The PAGE_DATA record, with its header, that means the same as the record with this body. @throws as decoding it */
export async function expandRecord(body: Buffer): Promise<Buffer> {
  const pages = decodePages(body);
  const data = await expandPages(pages);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(pages.pfns.length, 0);
  const pfns = body.subarray(headBytes, headBytes + 8 * pages.pfns.length);
  return libxc.encodeRecord(libxc.recordTypes.pageData, Buffer.concat([head, pfns, data]));
}

/** @returns whether it is a frame that says how long its content is */
function checkPayload(codec: Codec, payload: Buffer, rawLength: number): boolean {
  if (codec === 'zstd') {
    if (payload.length >= rawLength) throw damaged(`a frame of ${payload.length} bytes for ${rawLength} of pages`);
    return assertFrameBounded(payload, rawLength, 'sized');
  }
  const expected = { stored: rawLength, zero: 0, repeated: (rawLength / pageSize) * wordBytes }[codec];
  if (payload.length !== expected) throw damaged(`a payload of ${payload.length} bytes; expected: ${expected}`);
  return false;
}

function damaged(what: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`compressed pages: ${what}`]);
}
