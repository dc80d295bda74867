/** Compressed pages in the memory stream; page-codec.md beside this file specifies the record. */
import { crc32 } from 'node:zlib';
import { pageSize } from '../../base/domain.js';
import { XapiError } from '../../base/errors.js';
import { assertFrameBounded } from '../../base/zstd/frame.js';
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

function assertPayload(codec: Codec, payload: Buffer, rawLength: number): void {
  if (codec === 'zstd') {
    if (payload.length >= rawLength) throw damaged(`a frame of ${payload.length} bytes for ${rawLength} of pages`);
    assertFrameBounded(payload, rawLength);
    return;
  }
  const expected = { stored: rawLength, zero: 0, repeated: (rawLength / pageSize) * wordBytes }[codec];
  if (payload.length !== expected) throw damaged(`a payload of ${payload.length} bytes; expected: ${expected}`);
}

/** The error of a record that is not as the format says. */
export function damaged(what: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`compressed pages: ${what}`]);
}
