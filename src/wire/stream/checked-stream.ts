/** A checksum over the whole of a memory stream with compressed pages; page-codec.md beside this file specifies it. */
import { crc32 } from 'node:zlib';
import { XapiError } from '../../base/errors.js';
import * as libxc from './libxc-stream.js';
import { compressedPagesType, headBytes } from './page-codec.js';

/** The types of two more private records, both mandatory: the first one of such a stream, and the one before END. */
export const formatType = 0x0f5a5355;
export const checksumType = 0x0f5a5356;

const version = 3;
const bodyBytes = 8;

export interface StreamChecksum {
  /** The next bytes of the stream, in pieces of any length. */
  add(bytes: Uint8Array): void;
  /** Checksum of all that was added. */
  value(): number;
  /** Checksum of all that was added before the record that began last. */
  valueBefore(): number;
}

/** A part of a stream: so many bytes. */
interface Part {
  left: number;
  readonly isCovered: boolean;
  readonly isHeader?: true;
}

/** Begin the checksum of a memory stream. */
export function createStreamChecksum(): StreamChecksum {
  const header = Buffer.alloc(libxc.recordHeaderBytes);
  let parts: Part[] = [{ left: libxc.streamHeadBytes, isCovered: true }];
  let value = 0;
  let before = 0;
  const current = (): Part => {
    if (parts[0] === undefined) {
      before = value;
      parts = [{ left: header.length, isCovered: true, isHeader: true }];
    }
    return parts[0] as Part;
  };
  return {
    add(bytes) {
      for (let at = 0; at < bytes.length; ) {
        const part = current();
        const piece = bytes.subarray(at, at + part.left);
        if (part.isCovered) value = crc32(piece, value);
        if (part.isHeader) header.set(piece, header.length - part.left);
        part.left -= piece.length;
        at += piece.length;
        if (part.left === 0) parts = part.isHeader ? partsOfBody(header) : parts.slice(1);
      }
    },
    value: () => value,
    valueBefore: () => before,
  };
}

/** What a record of compressed pages has a checksum for itself is not covered again. */
function partsOfBody(header: Buffer): Part[] {
  const { type, length, paddedLength } = libxc.readRecordHeader(header);
  const own = type === compressedPagesType ? Math.max(0, length - headBytes) : 0;
  const parts = [
    { left: length - own, isCovered: true },
    { left: own, isCovered: false },
    { left: paddedLength - length, isCovered: true },
  ];
  return parts.filter(({ left }) => left > 0);
}

/** The record that says that the stream has a checksum. */
export function encodeFormat(): Buffer {
  return encodeWord(formatType, version);
}

/**
 * The record before END.
 * @param value of all that comes before it
 */
export function encodeChecksum(value: number): Buffer {
  return encodeWord(checksumType, value);
}

/**
 * Read a stream that may have a checksum, as libxc.readRecords does.
 * @returns its records without those of the checksum; what they say counts only when the last one has come
 * @throws INTERNAL_ERROR as libxc.readRecords does, and where the checksum is wrong or missing
 */
export async function* readCheckedRecords(
  read: libxc.ReadExactly,
  alsoKnown: ReadonlyMap<number, number>,
): AsyncGenerator<libxc.StreamRecord> {
  const checksum = createStreamChecksum();
  let state: 'begun' | 'unchecked' | 'checked' | 'ended' = 'begun';
  const summed = async (bytes: number) => {
    const next = await read(bytes);
    if (state !== 'unchecked') checksum.add(next);
    return next;
  };
  const known = new Map([...alsoKnown, [formatType, bodyBytes], [checksumType, bodyBytes]]);
  for await (const record of libxc.readRecords(summed, known)) {
    if (state === 'ended') throw damaged('a record behind its checksum');
    if (record.type === formatType) {
      const found = decodeWord(record.body);
      if (state !== 'begun') throw damaged('a format that is not said at its beginning');
      if (found !== version) throw damaged(`version ${found} of compressed streams; supported: ${version}`);
      state = 'checked';
    } else if (record.type === checksumType) {
      if (state !== 'checked') throw damaged('a checksum that was not announced');
      if (decodeWord(record.body) !== checksum.valueBefore()) throw damaged('its checksum is wrong');
      state = 'ended';
    } else {
      if (state === 'begun') state = 'unchecked';
      yield record;
    }
  }
  if (state === 'checked') throw damaged('it ended without its checksum');
}

function encodeWord(type: number, word: number): Buffer {
  const body = Buffer.alloc(bodyBytes);
  body.writeUInt32LE(word, 0);
  return libxc.encodeRecord(type, body);
}

function decodeWord(body: Buffer): number {
  if (body.length !== bodyBytes || body.readUInt32LE(4) !== 0) throw damaged('a damaged record of its checksum');
  return body.readUInt32LE(0);
}

function damaged(what: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`memory stream: ${what}`]);
}
