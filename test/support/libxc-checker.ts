/**
 * An independent checker of libxc migration stream v3 as a saver of an HVM guest must write it: stricter than a reader, and
 * without a line of the code that it checks.
 */

export interface CheckedStream {
  /** The last copy of each page. */
  readonly pages: ReadonlyMap<number, Buffer>;
  /** Types of all records in their order. */
  readonly types: readonly number[];
  readonly hvmContext: Buffer;
  /** Copies of pages in all. */
  readonly copies: number;
}

const END = 0;
const PAGE_DATA = 1;
const TSC_INFO = 8;
const HVM_CONTEXT = 9;
const HVM_PARAMS = 0xa;
const STATIC_DATA_END = 0x10;
const PAGE = 4096;
const order = [STATIC_DATA_END, PAGE_DATA, TSC_INFO, HVM_PARAMS, HVM_CONTEXT, END];

function must(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`not a libxc v3 stream: ${what}`);
}

/**
 * Check a whole memory stream, which must end with its END record.
 * @throws with what is wrong and where
 */
export function checkLibxcStream(stream: Buffer): CheckedStream {
  checkHeaders(stream);
  const pages = new Map<number, Buffer>();
  const types: number[] = [];
  const seen: { hvmContext?: Buffer; copies: number } = { copies: 0 };
  let at = 40;
  let phase = 0;
  while (types.at(-1) !== END) {
    must(at % 8 === 0, `record at ${at} is not aligned`);
    must(at + 8 <= stream.length, `the record header at ${at} is cut`);
    const type = stream.readUInt32LE(at);
    const length = stream.readUInt32LE(at + 4);
    const end = at + 8 + length;
    const next = end + ((8 - (length % 8)) % 8);
    must(next <= stream.length, `the record of type ${type} at ${at} is cut`);
    must(
      stream.subarray(end, next).every((byte) => byte === 0),
      `padding behind ${end} is not zero`,
    );
    const place = order.indexOf(type);
    must(place !== -1, `record type 0x${type.toString(16)} at ${at}`);
    must(
      place > phase || (place === phase && (type === PAGE_DATA || types.length === 0)),
      `type ${type} out of order at ${at}`,
    );
    phase = place;
    const body = stream.subarray(at + 8, end);
    if (type === PAGE_DATA) seen.copies += checkPages(body, pages);
    if (type === HVM_CONTEXT) seen.hvmContext = Buffer.from(body);
    checkFixedBodies(type, body);
    types.push(type);
    at = next;
  }
  must(at === stream.length, `${stream.length - at} bytes behind END`);
  for (const type of [STATIC_DATA_END, TSC_INFO, HVM_PARAMS]) must(types.includes(type), `no record of type ${type}`);
  must(seen.hvmContext !== undefined, 'no HVM_CONTEXT');
  return { pages, types, hvmContext: seen.hvmContext, copies: seen.copies };
}

function checkHeaders(stream: Buffer): void {
  must(stream.length >= 40, 'its headers are cut');
  must(stream.toString('hex', 0, 24) === 'ffffffffffffffff58454e46000000030000000000000000', 'image header');
  must(stream.toString('hex', 24, 32) === '020000000c000000', 'domain header');
}

function checkPages(body: Buffer, pages: Map<number, Buffer>): number {
  must(body.length >= 8, 'PAGE_DATA is cut');
  const count = body.readUInt32LE(0);
  must(count > 0 && count <= 1024, `PAGE_DATA of ${count} pages`);
  must(body.readUInt32LE(4) === 0, 'the reserved field of PAGE_DATA');
  must(body.length >= 8 + 8 * count, 'the page numbers of PAGE_DATA are cut');
  let data = 8 + 8 * count;
  for (let index = 0; index < count; index += 1) {
    const entry = body.readBigUInt64LE(8 + 8 * index);
    const type = Number(entry >> 60n);
    must(((entry >> 52n) & 0xffn) === 0n, 'reserved bits of a page number');
    must(![5, 6, 7, 8].includes(type), `page type ${type}`);
    if (type >= 0xd) continue;
    must(data + PAGE <= body.length, 'the data of PAGE_DATA is cut');
    pages.set(Number(entry & 0xfffffffffffffn), Buffer.from(body.subarray(data, data + PAGE)));
    data += PAGE;
  }
  must(data === body.length, 'PAGE_DATA has bytes behind its pages');
  return count;
}

function checkFixedBodies(type: number, body: Buffer): void {
  if (type === END || type === STATIC_DATA_END) must(body.length === 0, `type ${type} has a body`);
  if (type === TSC_INFO) must(body.length === 24 && body.readUInt32LE(20) === 0, 'TSC_INFO');
  if (type === HVM_PARAMS) {
    must(body.length >= 8 && body.length === 8 + 16 * body.readUInt32LE(0), 'HVM_PARAMS');
    must(body.readUInt32LE(0) > 0 && body.readUInt32LE(4) === 0, 'HVM_PARAMS');
  }
}
