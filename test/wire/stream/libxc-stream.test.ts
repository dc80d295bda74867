import { expect } from 'chai';
import fc from 'fast-check';
import { pageSize } from '../../../src/base/domain.js';
import {
  decodeHvmParams,
  decodePageData,
  encodeHvmParams,
  encodeRecord,
  encodeStreamHead,
  encodeTscInfo,
  pageHeadBytes,
  type ReadExactly,
  readRecords,
  recordTypes,
  writePageHead,
} from '../../../src/wire/stream/libxc-stream.js';
import { choppedReader } from '../../support/chopped.js';
import { checkLibxcStream } from '../../support/libxc-checker.js';

const head = 'ffffffffffffffff58454e46000000030000000000000000' + '020000000c0000000400000011000000';
const staticDataEnd = '1000000000000000';
const end = '0000000000000000';
const privateType = 0x0f5a5354;

const hex = (...parts: string[]) => Buffer.from(parts.join(''), 'hex');

async function collect(read: ReadExactly) {
  const records: { type: number; body: string }[] = [];
  for await (const { type, body } of readRecords(read, new Map([[privateType, 64]]))) {
    records.push({ type, body: body.toString('hex') });
  }
  return records;
}

function pageData(pfns: readonly number[], fill = 7): Buffer {
  const body = Buffer.alloc(pageHeadBytes(pfns.length) + pfns.length * pageSize, fill);
  writePageHead(body, 0, pfns);
  return encodeRecord(recordTypes.pageData, body);
}

const wholeStream = (pfns: readonly number[]) =>
  Buffer.concat([
    encodeStreamHead(),
    encodeRecord(recordTypes.staticDataEnd),
    ...pfns.map((pfn) => pageData([pfn], pfn % 256)),
    encodeTscInfo(),
    encodeHvmParams(new Map([[1n, 2n]])),
    encodeRecord(recordTypes.hvmContext, Buffer.from('context')),
    encodeRecord(recordTypes.end),
  ]);

describe('libxc stream', () => {
  it('begins with the headers of the specification', () => {
    expect(encodeStreamHead().toString('hex')).to.equal(head);
  });

  it('pads records with zeros to 8 bytes', () => {
    expect(encodeRecord(9, Buffer.from('abc')).toString('hex')).to.equal('09000000030000006162630000000000');
    expect(encodeRecord(0).toString('hex')).to.equal(end);
  });

  it('writes page numbers with their type in the upper bits', () => {
    const body = Buffer.alloc(24);
    writePageHead(body, 0, [1, 0xf_ffff_ffff_ffff]);
    expect(body.toString('hex')).to.equal('0200000000000000' + '0100000000000000' + 'ffffffffffff0f00');
  });

  it('satisfies an independent checker', () => {
    const checked = checkLibxcStream(wholeStream([5, 6, 5]));
    expect([...checked.pages.keys()]).to.deep.equal([5, 6]);
    expect(checked.copies).to.equal(3);
    expect(checked.hvmContext.toString()).to.equal('context');
  });

  it('is read to the last byte of END and no further, in pieces of any size', async () => {
    const stream = wholeStream([1, 2]);
    for (const size of [1, 2, 4096]) {
      const read = choppedReader(Buffer.concat([stream, Buffer.from('behind')]), size);
      const types = (await collect(read)).map(({ type }) => type);
      expect(types).to.deep.equal([1, 1, 8, 0xa, 9]);
      expect(read.left()).to.equal('behind'.length);
    }
  });

  it('is refused wherever it is cut', async () => {
    const stream = wholeStream([]);
    for (let length = 0; length < stream.length; length += 1) {
      const outcome = await collect(choppedReader(stream.subarray(0, length), 64)).catch(
        (error: Error) => error.message,
      );
      expect(outcome).to.equal('the stream ended early');
    }
  });

  it('skips optional records, whatever is in them', async () => {
    const optional = '010000800900000011111111111111111100000000000000';
    const read = choppedReader(hex(head, optional, staticDataEnd, optional, end));
    expect(await collect(read)).to.deep.equal([]);
  });

  it('hands on mandatory records that the caller knows, and ignores their padding', async () => {
    const read = choppedReader(hex(head, staticDataEnd, '54535a0f01000000aaffffffffffffff', end));
    expect(await collect(read)).to.deep.equal([{ type: privateType, body: 'aa' }]);
  });

  for (const [what, stream, message] of [
    [
      'an unknown mandatory record',
      hex(head, staticDataEnd, 'ffffff7f00000000'),
      'unknown mandatory record 0x7fffffff',
    ],
    [
      'an assigned record that no HVM guest has',
      hex(head, staticDataEnd, '0200000000000000'),
      'unknown mandatory record 0x00000002',
    ],
    ['pages before STATIC_DATA_END', hex(head, '0100000000000000'), 'PAGE_DATA before STATIC_DATA_END'],
    ['END before STATIC_DATA_END', hex(head, end), 'END before STATIC_DATA_END'],
    ['END with a body', hex(head, staticDataEnd, '0000000008000000'), 'END of 8 bytes; allowed: 0'],
    [
      'a record beyond 128 MiB',
      hex(head, staticDataEnd, '0900000001000008'),
      'HVM_CONTEXT of 134217729 bytes; allowed: 67108864',
    ],
    [
      'PAGE_DATA beyond 128 MiB',
      hex(head, staticDataEnd, '0100000001000008'),
      'PAGE_DATA of 134217729 bytes; allowed: 134217728',
    ],
    ['an optional record beyond 128 MiB', hex(head, staticDataEnd, '01000080ffffffff'), 'of 4294967295 bytes; allowed'],
    ['a long TSC_INFO', hex(head, staticDataEnd, '0800000019000000'), 'TSC_INFO of 25 bytes; allowed: 24'],
    ['more HVM_PARAMS than there are', hex(head, staticDataEnd, '0a00000000010100'), 'HVM_PARAMS of 65792 bytes'],
    ['a record of the caller that is longer than it says', hex(head, staticDataEnd, '54535a0f41000000'), 'allowed: 64'],
    ['no marker', hex(head.replace('ff', 'fe')), 'no marker'],
    ['another id', hex(head.replace('58454e46', '58454e47')), 'instead of XENF'],
    ['another version', hex(head.replace('00000003', '00000002')), 'version 2; supported: 3'],
    ['big-endian', hex(head.replace('0000000300000000', '0000000300010000')), 'big-endian'],
    ['a PV guest', hex(head.replace('020000000c', '010000000c')), 'domain type 1'],
    ['other pages', hex(head.replace('020000000c', '020000000d')), 'page shift 13'],
  ] as const) {
    it(`refuses ${what}`, async () => {
      const error = await collect(choppedReader(stream, 8)).catch((caught: Error) => caught);
      expect(error).to.have.property('code', 'INTERNAL_ERROR');
      expect(error).to.have.property('message').that.contains(message);
    });
  }

  it('gives the pages of PAGE_DATA that have data', () => {
    const types = [0x0, 0xd, 0x1, 0xe, 0xc, 0xf];
    const body = Buffer.alloc(8 + 8 * types.length + 3 * pageSize);
    body.writeUInt32LE(types.length, 0);
    types.forEach((type, index) => {
      body.writeBigUInt64LE((BigInt(type) << 60n) | BigInt(100 + index), 8 + 8 * index);
    });
    const { pfns, data } = decodePageData(body);
    expect(pfns).to.deep.equal([100, 102, 104]);
    expect(data.length).to.equal(3 * pageSize);
  });

  for (const [what, body, message] of [
    ['no count', hex('0100'), 'without pages'],
    ['no page', Buffer.alloc(8), 'without pages'],
    ['an absurd count', hex('ffffffff00000000', '0000000000000000'), 'for 4294967295 pages'],
    [
      'a cut page',
      Buffer.concat([hex('0100000000000000', '0100000000000000'), Buffer.alloc(4095)]),
      '4095 bytes of 1 pages',
    ],
    [
      'bytes behind',
      Buffer.concat([hex('0100000000000000', '0100000000000000'), Buffer.alloc(4097)]),
      '4097 bytes of 1 pages',
    ],
    ...Array.from({ length: 8 }, (_, bit) => {
      const body = Buffer.alloc(16 + 4096);
      body.writeUInt32LE(1, 0);
      body.writeBigUInt64LE(1n << BigInt(52 + bit), 8);
      return [`bit ${52 + bit} of a page number`, body, 'a page number with reserved bits 0x'] as const;
    }),
    ['a reserved page type', hex('0100000000000000', '0100000000000050'), 'reserved type 5'],
  ] as const) {
    it(`refuses PAGE_DATA with ${what}`, () => {
      expect(() => decodePageData(body)).to.throw(message);
    });
  }

  it('gives back any pages', () => {
    const pages = fc.uniqueArray(fc.nat({ max: 2 ** 52 - 1 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(pages, (pfns) => {
        const record = pageData(pfns);
        expect(decodePageData(record.subarray(8)).pfns).to.deep.equal(pfns);
      }),
    );
  });

  it('gives back HVM parameters, and refuses a count that does not fit', () => {
    const params = new Map([
      [1n, 2n],
      [17n, 0xffff_ffff_ffff_ffffn],
    ]);
    const body = encodeHvmParams(params).subarray(8);
    expect(decodeHvmParams(body)).to.deep.equal(params);
    expect(() => decodeHvmParams(body.subarray(0, 24))).to.throw('HVM_PARAMS of 24 bytes for 2 parameters');
    expect(() => decodeHvmParams(Buffer.alloc(0))).to.throw('HVM_PARAMS');
  });
});
