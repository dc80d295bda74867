/** Records around the bytes of QEMU's own migration stream; qemu-stream.md beside this file specifies them. */
import { crc32 } from 'node:zlib';
import { messageOf, XapiError } from '../../base/errors.js';
import { assertFrameBounded } from '../../base/zstd/frame.js';
import { openZstd } from '../../base/zstd/zstd.js';
import type { ReadExactly } from './libxc-stream.js';

/** The most bytes of QEMU's that a record holds. */
export const recordBytes = 1 << 20;

const magic = Buffer.from('XFQEMU\n\0', 'latin1');
const version = 1;
const headBytes = 16;
const headerBytes = 16;
const checkedBytes = 12;
const codecs = { stored: 0, zstd: 1, end: 2 } as const;
type Codec = keyof typeof codecs;

export interface QemuStreamWriter {
  /** The head of the stream. */
  readonly head: Buffer;
  /** Bytes of QEMU's, as they are, or as one frame of them where that is shorter. */
  encode(raw: Buffer, frame?: Buffer): readonly Buffer[];
  /** The record behind the last of QEMU's bytes. */
  end(): readonly Buffer[];
}

/** A stream's records, each with the checksum that goes on from the one before: they are to be written in the order of encoding. */
export function createQemuStreamWriter(): QemuStreamWriter {
  let checksum = 0;
  let total = 0;
  const encode = (codec: Codec, rawLength: number, payload: Buffer): readonly Buffer[] => {
    const header = Buffer.alloc(headerBytes);
    header.writeUInt32LE(codecs[codec], 0);
    header.writeUInt32LE(rawLength, 4);
    header.writeUInt32LE(payload.length, 8);
    checksum = crc32(payload, crc32(header.subarray(0, checkedBytes), checksum));
    header.writeUInt32LE(checksum, checkedBytes);
    return [header, payload];
  };
  const head = Buffer.alloc(headBytes);
  magic.copy(head);
  head.writeUInt32LE(version, 8);
  return {
    head,
    encode(raw, frame = raw) {
      total += raw.length;
      return frame.length < raw.length ? encode('zstd', raw.length, frame) : encode('stored', raw.length, raw);
    },
    end() {
      const payload = Buffer.alloc(8);
      payload.writeBigUInt64LE(BigInt(total));
      return encode('end', 0, payload);
    },
  };
}

/**
 * Read a whole stream, up to its end and no further.
 * @returns QEMU's bytes, a record at a time
 * @throws INTERNAL_ERROR for what is not of the format, whose checksum is wrong, or that is longer than `most` bytes of QEMU's
 */
export async function* readQemuStream(read: ReadExactly, most: number): AsyncGenerator<Buffer> {
  const head = await read(headBytes);
  if (!head.subarray(0, magic.length).equals(magic))
    throw refused('it is none: the domain was not of QEMU where it comes from');
  if (head.readUInt32LE(8) !== version) throw refused(`version ${head.readUInt32LE(8)}; known: ${version}`);
  if (head.readUInt32LE(12) !== 0) throw refused(`unknown flags ${head.readUInt32LE(12)}`);
  let checksum = 0;
  let total = 0;
  for (;;) {
    const header = Buffer.from(await read(headerBytes));
    const { codec, rawLength, payloadLength } = decodeHeader(header);
    const payload = Buffer.from(await read(payloadLength));
    checksum = crc32(payload, crc32(header.subarray(0, checkedBytes), checksum));
    if (checksum !== header.readUInt32LE(checkedBytes)) throw refused('a wrong checksum');
    if (codec === 'end') {
      if (payload.readBigUInt64LE() !== BigInt(total)) throw refused(`it ends after ${total} bytes instead of all`);
      return;
    }
    total += rawLength;
    if (total > most) throw refused(`longer than the ${most} bytes that the domain's may be`);
    yield codec === 'stored' ? payload : await expand(payload, rawLength);
  }
}

function decodeHeader(header: Buffer): { codec: Codec; rawLength: number; payloadLength: number } {
  const number = header.readUInt32LE(0);
  const [codec] = Object.entries(codecs).find(([, each]) => each === number) ?? [];
  const [rawLength, payloadLength] = [header.readUInt32LE(4), header.readUInt32LE(8)];
  const fits =
    codec === 'end'
      ? rawLength === 0 && payloadLength === 8
      : rawLength > 0 && rawLength <= recordBytes && payloadLength > 0 && payloadLength <= rawLength;
  if (codec === undefined || !fits || (codec === 'stored' && payloadLength !== rawLength))
    throw refused(`a record of codec ${number} with ${payloadLength} bytes for ${rawLength}`);
  return { codec: codec as Codec, rawLength, payloadLength };
}

async function expand(frame: Buffer, rawLength: number): Promise<Buffer> {
  assertFrameBounded(frame, rawLength);
  const zstd = await openZstd();
  try {
    const raw = await zstd.expand(frame, Buffer.allocUnsafe(rawLength));
    if (raw.length === rawLength) return raw;
  } catch (error) {
    throw refused(`a frame that does not expand: ${messageOf(error)}`);
  }
  throw refused('a frame that expands to another length than it says');
}

function refused(why: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`QEMU's memory stream: ${why}`]);
}
