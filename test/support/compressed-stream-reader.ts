/**
 * A reader of memory streams with compressed pages, written from src/wire/stream/page-codec.md alone, and from libxc's own
 * specification where that document leaves things as they are there. It has no line of the code that it reads after.
 */
import { crc32 } from 'node:zlib';
import { decompress } from '@cloudpss/zstd';

export interface ReadStream {
  readonly version: 2 | 3;
  /** The last copy of each page. */
  readonly pages: ReadonlyMap<number, Buffer>;
  readonly hvmContext: Buffer;
  readonly records: readonly FoundRecord[];
}

/** A record; its header is at `at`. */
export interface FoundRecord {
  readonly name: string;
  readonly at: number;
  readonly length: number;
  /** Place of the next record. */
  readonly next: number;
}

const PAGE = 4096;
const PAGES = 0x0f5a5354;
const FORMAT = 0x0f5a5355;
const CHECKSUM = 0x0f5a5356;
const names = new Map([
  [0, 'END'],
  [1, 'PAGE_DATA'],
  [8, 'TSC_INFO'],
  [9, 'HVM_CONTEXT'],
  [0xa, 'HVM_PARAMS'],
  [0x10, 'STATIC_DATA_END'],
  [PAGES, 'compressed pages'],
  [FORMAT, 'format'],
  [CHECKSUM, 'checksum'],
]);

function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`not a stream of compressed pages: ${what}`);
}

/**
 * Read a whole stream, which ends with its END record.
 * @throws with what is wrong
 */
export function readCompressedStream(stream: Buffer): ReadStream {
  must(stream.length >= 40, 'its headers are cut');
  must(stream.toString('hex', 0, 24) === 'ffffffffffffffff58454e46000000030000000000000000', 'image header');
  must(stream.toString('hex', 24, 32) === '020000000c000000', 'domain header');
  const pages = new Map<number, Buffer>();
  const records: FoundRecord[] = [];
  let hvmContext: Buffer | undefined;
  let covered = crc32(stream.subarray(0, 40));
  for (let at = 40; records.at(-1)?.name !== 'END'; at = records.at(-1)?.next as number) {
    must(at + 8 <= stream.length, 'a header is cut');
    const type = stream.readUInt32LE(at);
    const length = stream.readUInt32LE(at + 4);
    const end = at + 8 + length;
    const next = end + ((8 - (length % 8)) % 8);
    must(next <= stream.length, 'a record is cut');
    const name = names.get(type) ?? (type >= 0x80000000 ? 'optional' : undefined);
    must(name !== undefined, `mandatory record 0x${type.toString(16)}`);
    const body = stream.subarray(at + 8, end);
    checkPlace(name, records);
    if (name === 'checksum') must(length === 8 && body.readUInt32LE(0) === covered, 'checksum of the stream');
    if (name === 'checksum' || name === 'format') must(length === 8 && body.readUInt32LE(4) === 0, name);
    if (name === 'format') must(body.readUInt32LE(0) === 3, 'version');
    if (name === 'END' || name === 'STATIC_DATA_END') must(length === 0, name);
    if (name === 'HVM_CONTEXT') hvmContext = body;
    if (name === 'PAGE_DATA') readPageData(body, pages);
    if (name === 'compressed pages') readPages(body, pages);
    covered = crc32(stream.subarray(at, name === 'compressed pages' ? at + 8 + 24 : next), covered);
    if (name === 'compressed pages') covered = crc32(stream.subarray(end, next), covered);
    records.push({ name, at, length, next });
  }
  must(records.at(-1)?.next === stream.length, 'bytes behind END');
  must(hvmContext !== undefined, 'no HVM_CONTEXT');
  return { version: has(records, 'format') ? 3 : 2, pages, hvmContext, records };
}

function has(records: readonly FoundRecord[], name: string): boolean {
  return records.some((record) => record.name === name);
}

/** Tell whether a record may stand behind these. */
function checkPlace(name: string, before: readonly FoundRecord[]): void {
  const last = before.at(-1)?.name;
  must((name === 'STATIC_DATA_END') === (before.length === 0), `${name} behind ${last}`);
  if (name === 'format') must(last === 'STATIC_DATA_END', 'a format record at another place');
  if (name === 'checksum') must(has(before, 'format'), 'a checksum record without a format record');
  if (last === 'checksum') must(name === 'END', 'a record behind the checksum record');
  if (name === 'END') must(has(before, 'format') === has(before, 'checksum'), 'END without the checksum');
}

function readPages(body: Buffer, into: Map<number, Buffer>): void {
  must(body.length >= 24, 'a cut head');
  const [codec, flags, count, rawLength, checksum] = [0, 4, 8, 12, 16].map((at) => body.readUInt32LE(at)) as [
    ...[number, number, number, number, number],
  ];
  must(codec <= 3, 'codec');
  must(flags === 0, 'flags');
  must(count >= 1 && count <= 1024 && rawLength === PAGE * count, 'count');
  must(body.length >= 24 + 8 * count, 'cut page numbers');
  must(checksum === crc32(body.subarray(20)), 'checksum of pages');
  const data = expand(codec, count, body.subarray(24 + 8 * count));
  must(data.length === rawLength, 'length of the expansion');
  for (let index = 0; index < count; index += 1) {
    const { pfn, hasData } = readEntry(body, 24 + 8 * index);
    must(hasData, 'a page without data');
    into.set(pfn, data.subarray(index * PAGE, (index + 1) * PAGE));
  }
}

function expand(codec: number, count: number, payload: Buffer): Buffer {
  if (codec === 0) return payload;
  if (codec === 1) {
    must(payload.length < PAGE * count, 'a frame that is not shorter than its pages');
    return Buffer.from(decompress(payload));
  }
  must(payload.length === (codec === 2 ? 0 : 8 * count), 'payload of words');
  return Buffer.concat(
    Array.from({ length: count }, (_, index) =>
      codec === 2 ? Buffer.alloc(PAGE) : Buffer.alloc(PAGE, payload.subarray(8 * index, 8 * index + 8)),
    ),
  );
}

function readPageData(body: Buffer, into: Map<number, Buffer>): void {
  must(body.length >= 8, 'PAGE_DATA');
  const count = body.readUInt32LE(0);
  must(count >= 1 && body.length >= 8 + 8 * count, 'PAGE_DATA');
  let at = 8 + 8 * count;
  for (let index = 0; index < count; index += 1) {
    const { pfn, hasData } = readEntry(body, 8 + 8 * index);
    if (!hasData) continue;
    must(at + PAGE <= body.length, 'PAGE_DATA');
    into.set(pfn, body.subarray(at, at + PAGE));
    at += PAGE;
  }
  must(at === body.length, 'PAGE_DATA');
}

function readEntry(body: Buffer, at: number): { readonly pfn: number; readonly hasData: boolean } {
  const entry = body.readBigUInt64LE(at);
  const type = Number(entry >> 60n);
  must(type < 5 || type > 8, 'page type');
  must(((entry >> 52n) & 0xffn) === 0n, 'bits 59 to 52 of a page number');
  return { pfn: Number(entry & 0xf_ffff_ffff_ffffn), hasData: type < 0xd };
}
