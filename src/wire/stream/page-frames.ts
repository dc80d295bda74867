/**
 * Pages to frames of zstd, and records of page-codec.ts to pages. It loads zstd, and is itself to be loaded where there are
 * compressed pages.
 */
import { pageSize } from '../../base/domain.js';
import { messageOf } from '../../base/errors.js';
import { openZstd } from '../../base/zstd/zstd.js';
import * as libxc from './libxc-stream.js';
import { type CompressedPages, damaged, decodePages, headBytes, wordBytes } from './page-codec.js';

const zstd = await openZstd();

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
