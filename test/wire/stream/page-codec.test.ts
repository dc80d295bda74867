import { crc32 } from 'node:zlib';
import { expect } from 'chai';
import fc from 'fast-check';
import { pageSize } from '../../../src/base/domain.js';
import { assertFrameBounded } from '../../../src/base/zstd/frame.js';
import {
  encodeHvmParams,
  encodeRecord,
  encodeStreamHead,
  encodeTscInfo,
  readRecords,
} from '../../../src/wire/stream/libxc-stream.js';
import {
  type Codec,
  compressedPagesType,
  decodePages,
  encodePages,
  maxCompressedBody,
} from '../../../src/wire/stream/page-codec.js';
import {
  compressPages,
  compressPagesHere,
  expandPages,
  expandPagesHere,
  expandRecord,
} from '../../../src/wire/stream/page-frames.js';
import { choppedReader } from '../../support/chopped.js';
import { checkLibxcStream } from '../../support/libxc-checker.js';
import { randomBytes } from '../../support/random.js';

const text = (pages: number) => Buffer.alloc(pages * pageSize, 'In the beginning was the page. ');
const bodyOf = (record: Buffer) => record.subarray(8, 8 + record.readUInt32LE(4));

async function payloadOf(codec: Codec, pages: Buffer): Promise<Buffer> {
  if (codec === 'zstd') return compressPages(pages);
  if (codec === 'stored') return pages;
  const words = Array.from({ length: pages.length / pageSize }, (_, page) =>
    pages.subarray(page * pageSize).subarray(0, 8),
  );
  return codec === 'zero' ? Buffer.alloc(0) : Buffer.concat(words);
}

async function recordOf(codec: Codec, pfns: readonly number[], pages: Buffer): Promise<Buffer> {
  return Buffer.concat(encodePages(codec, pfns, await payloadOf(codec, pages)));
}

/** A copy of a record's body with a change, and the checksum made right again. */
function changed(body: Buffer, change: (copy: Buffer) => Buffer | undefined): Buffer {
  const copy = Buffer.from(body);
  const result = change(copy) ?? copy;
  if (result.length >= 24) result.writeUInt32LE(crc32(result.subarray(20)), 16);
  return result;
}

describe('compressed pages', () => {
  it('are a mandatory record of a private type', async () => {
    const [head, payload, padding] = encodePages('zero', [1, 2], Buffer.alloc(0));
    expect(Buffer.concat([head!, payload!, padding!]).toString('hex')).to.equal(
      [
        '54535a0f28000000',
        '0200000000000000',
        '0200000000200000',
        '610d98e300000000',
        '0100000000000000',
        '0200000000000000',
      ].join(''),
    );
  });

  for (const [codec, pages] of [
    ['stored', randomBytes(3 * pageSize)],
    ['zstd', text(3)],
    ['zero', Buffer.alloc(3 * pageSize)],
    ['repeated', Buffer.concat(['abcdefgh', 'x', '01234567'].map((word) => Buffer.alloc(pageSize, word)))],
  ] as const) {
    it(`are given back by codec ${codec}`, async () => {
      const record = await recordOf(codec, [7, 8, 100], pages);
      expect(record.length % 8).to.equal(0);
      const decoded = decodePages(bodyOf(record));
      expect(decoded).to.include({ codec, rawLength: pages.length });
      expect(decoded.pfns).to.deep.equal([7, 8, 100]);
      expect((await expandPages(decoded)).equals(pages)).to.equal(true);
      expect(expandPagesHere(decoded).equals(pages)).to.equal(true);
    });

    it(`of codec ${codec} expand to PAGE_DATA of a valid libxc stream`, async () => {
      const body = bodyOf(await recordOf(codec, [7, 8, 100], pages));
      const stream = Buffer.concat([
        encodeStreamHead(),
        encodeRecord(0x10),
        await expandRecord(body),
        encodeTscInfo(),
        encodeHvmParams(new Map([[1n, 1n]])),
        encodeRecord(9, Buffer.from('x')),
        encodeRecord(0),
      ]);
      const checked = checkLibxcStream(stream);
      expect([...checked.pages.keys()]).to.deep.equal([7, 8, 100]);
      expect(Buffer.concat([...checked.pages.values()]).equals(pages)).to.equal(true);
    });
  }

  it('come through a stream that arrives two bytes at a time', async () => {
    const record = await recordOf('zstd', [3, 4], text(2));
    const stream = Buffer.concat([encodeStreamHead(), encodeRecord(0x10), record, encodeRecord(0)]);
    const found: number[][] = [];
    for await (const { body } of readRecords(
      choppedReader(stream),
      new Map([[compressedPagesType, maxCompressedBody]]),
    )) {
      found.push([...decodePages(body).pfns]);
    }
    expect(found).to.deep.equal([[3, 4]]);
  });

  it('are found damaged wherever a byte is changed', async () => {
    const body = bodyOf(await recordOf('zstd', [1, 2], text(2)));
    const whole = (await expandRecord(body)).toString('hex');
    for (let at = 0; at < body.length; at += 1) {
      const damaged = Buffer.from(body);
      damaged[at] = (damaged[at] as number) ^ 0x55;
      const outcome = await expandRecord(damaged).then(
        (record) => record.toString('hex'),
        () => undefined,
      );
      expect(outcome === undefined, `byte ${at}`).to.equal(true);
    }
    expect(whole).to.have.length((8 + 8 + 16 + 2 * pageSize) * 2);
  });

  it('are refused wherever they are cut', async () => {
    const body = bodyOf(await recordOf('zstd', [1], text(1)));
    for (let length = 0; length < body.length; length += 1) {
      const cut = changed(body, (copy) => Buffer.from(copy.subarray(0, length)));
      expect(() => decodePages(cut), `${length} bytes`).to.throw();
    }
  });

  for (const [what, change, message] of [
    ['an unknown codec', (body) => void body.writeUInt32LE(4, 0), 'codec 4'],
    ['unknown flags', (body) => void body.writeUInt32LE(1, 4), 'flags 0x1'],
    ['no page', (body) => void body.writeUInt32LE(0, 8), '0 pages; allowed: 1 to 1024'],
    ['too many pages', (body) => void body.writeUInt32LE(1025, 8), '1025 pages'],
    ['another raw length', (body) => void body.writeUInt32LE(4096, 12), 'a raw length of 4096 for 2 pages'],
    ['a page without data', (body) => void body.writeUInt8(0xf0, 24 + 7), 'a type without data'],
    ['reserved bits of a page number', (body) => void body.writeUInt8(0x10, 24 + 6), 'reserved bits 0x00100000'],
    ['a reserved page type', (body) => void body.writeUInt8(0x60, 24 + 7), 'reserved type 6'],
    ['stored pages that are too short', (body) => void body.writeUInt32LE(0, 0), 'expected: 8192'],
    ['repeated pages without their words', (body) => void body.writeUInt32LE(3, 0), 'expected: 16'],
    ['zero pages with a payload', (body) => void body.writeUInt32LE(2, 0), 'expected: 0'],
    ['bytes behind the frame', (body) => Buffer.concat([body, Buffer.alloc(1)]), 'where the frame has'],
    ['a frame as long as its pages', (body) => Buffer.concat([body, Buffer.alloc(8192)]), 'for 8192 of pages'],
  ] as const satisfies readonly (readonly [string, (body: Buffer) => Buffer | undefined, string])[]) {
    it(`are refused with ${what}`, async () => {
      const body = bodyOf(await recordOf('zstd', [1, 2], text(2)));
      expect(() => decodePages(changed(body, change as (body: Buffer) => Buffer | undefined))).to.throw(message);
    });
  }

  it('are refused when the checksum is wrong', async () => {
    const body = bodyOf(await recordOf('stored', [1], randomBytes(pageSize)));
    body.writeUInt32LE(0, 16);
    expect(() => decodePages(body)).to.throw('a wrong checksum');
  });

  it('are refused when the frame expands to fewer bytes', async () => {
    const record = Buffer.concat(encodePages('zstd', [1, 2], await compressPages(text(1))));
    const error = await expandRecord(bodyOf(record)).catch((caught: Error) => caught);
    expect(error)
      .to.have.property('message')
      .that.matches(/a content size of 4096 where 8192|a frame of 4096 bytes instead of 8192/);
  });

  it('are given back whatever they hold', async () => {
    const pages = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(pages, fc.nat({ max: 2 ** 52 - 10 }), async (fills, first) => {
        const data = Buffer.concat(fills.map((fill) => Buffer.alloc(pageSize, fill)));
        const pfns = fills.map((_, index) => first + index);
        const decoded = decodePages(bodyOf(await recordOf('zstd', pfns, data)));
        expect(decoded.pfns).to.deep.equal(pfns);
        expect((await expandPages(decoded)).equals(data)).to.equal(true);
      }),
      { numRuns: 30 },
    );
  });
});

describe('zstd frame', () => {
  const limit = 4 << 20;
  const header = 'fd2fb528'.match(/../g)!.toReversed().join('');
  const block = (kind: number, size: number, last: boolean) => {
    const bytes = Buffer.alloc(3);
    bytes.writeUIntLE((size << 3) | (kind << 1) | Number(last), 0, 3);
    return bytes;
  };
  const frame = (...parts: (string | Buffer)[]) =>
    Buffer.concat([header, ...parts].map((part) => (typeof part === 'string' ? Buffer.from(part, 'hex') : part)));

  it('passes and expands as our libraries write it, at any size and level', async () => {
    const levels = Array.from({ length: 17 }, (_, index) => index - 7);
    for (const pages of [1, 31, 32, 33, 100, 1024]) {
      const data = Buffer.concat([
        text(pages).subarray(0, (pages * pageSize) / 2),
        randomBytes((pages * pageSize) / 2),
      ]);
      for (const frame of [await compressPages(data), ...levels.map((level) => compressPagesHere(data, level))]) {
        assertFrameBounded(frame, data.length);
        const decoded = { codec: 'zstd', pfns: [], rawLength: data.length, payload: frame } as const;
        expect(expandPagesHere(decoded).equals(data)).to.equal(true);
      }
    }
  });

  const bomb = (blocks: number, size = 128 * 1024) =>
    frame(
      '0058',
      ...Array.from({ length: blocks }, (_, index) =>
        Buffer.concat([block(1, size, index === blocks - 1), Buffer.from([0])]),
      ),
    );

  for (const [what, bytes, message] of [
    ['run-length blocks that hold 1 GiB', bomb(8192), 'could hold more than the 4194304 bytes'],
    ['one block too many', bomb(33), 'could hold more than'],
    ['a block beyond 128 KiB', bomb(1, 200_000), 'a block of 200000 bytes; allowed: 131072'],
    ['a block beyond the window', frame('0000', block(0, 2000, true), Buffer.alloc(2000)), 'allowed: 1024'],
    [
      'compressed blocks that could hold more',
      frame('0058', ...Array.from({ length: 40 }, () => Buffer.concat([block(2, 1, false), Buffer.alloc(1)]))),
      'could hold more than',
    ],
    ['another content size', frame('e058', '0000000100000000', block(0, 0, true)), 'content size'],
    ['a window of 4 GiB', frame('00b0', block(0, 0, true)), 'a window of 4294967296 bytes'],
    ['a dictionary', frame('0158', '01', block(0, 0, true)), 'needs a dictionary'],
    ['a reserved bit', frame('0858', block(0, 0, true)), 'reserved bit'],
    ['a reserved block type', frame('0058', block(3, 0, true)), 'reserved type'],
    ['no last block', frame('0058', block(0, 0, false)), 'ends within its blocks'],
    ['a cut header', frame('c058'), 'ends within its header'],
    [
      'a second frame',
      Buffer.concat([frame('0058', block(0, 0, true)), frame('0058', block(0, 0, true))]),
      'where the frame has',
    ],
    ['a skippable frame', Buffer.from('502a4d180400000000000000', 'hex'), 'no zstd frame'],
    ['nothing', Buffer.alloc(0), 'no zstd frame'],
  ] as const) {
    it(`is refused with ${what}`, () => {
      expect(() => assertFrameBounded(bytes, limit))
        .to.throw(message)
        .with.property('code', 'INTERNAL_ERROR');
    });
  }

  it('may have blocks that could hold more where it says its content size, and is then expanded into just that', async () => {
    const runs = Array.from({ length: 1000 }, (_, index) =>
      Buffer.concat([block(1, 4096, index === 999), Buffer.from('x')]),
    );
    const payload = frame('a0', '00200000', ...runs);
    expect(assertFrameBounded(payload, 2 * pageSize)).to.equal(true);
    const decoded = decodePages(bodyOf(Buffer.concat(encodePages('zstd', [1, 2], payload))));
    expect(() => expandPagesHere(decoded)).to.throw('a frame that does not expand');
    expect(await expandPages(decoded).catch((error: Error) => error.message)).to.contain(
      'a frame that does not expand',
    );
  });

  it('passes just when its blocks fit', () => {
    assertFrameBounded(bomb(32), limit);
    assertFrameBounded(frame('a0', '00004000', block(0, 0, true)), limit);
  });
});
