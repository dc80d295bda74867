import { expect } from 'chai';
import fc from 'fast-check';
import { decodeContext, encodeContext } from '../../../src/hypervisor/guest/context.js';

const pages = 64;
const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const word = fc.nat({ max: 0xffffffff });
const contexts = fc.record({
  ticks: count,
  pagesWritten: count,
  random: fc.uint32Array({ minLength: 4, maxLength: 4 }),
  generations: fc
    .array(fc.oneof(fc.constant(0), word), { minLength: pages, maxLength: pages })
    .map((all) => Uint32Array.from(all)),
});

describe('the bytes of a context', () => {
  it('give the same context again', () => {
    fc.assert(
      fc.property(contexts, (context) => {
        expect(decodeContext(encodeContext(context), pages)).to.deep.equal(context);
      }),
    );
  });

  it('take little room for pages that were never written', () => {
    const generations = new Uint32Array(100_000);
    generations[70_000] = 3;
    expect(encodeContext({ ticks: 1, pagesWritten: 3, random: new Uint32Array(4), generations }).length).to.equal(
      44 + 4,
    );
  });

  const good = encodeContext({
    ticks: 5,
    pagesWritten: 2,
    random: new Uint32Array(4),
    generations: new Uint32Array(pages).fill(1),
  });
  const altered = (at: number, value: number): Buffer => {
    const bytes = Buffer.from(good);
    bytes[at] = value;
    return bytes;
  };
  for (const [what, bytes, text] of [
    ['are cut short', good.subarray(0, -1), /cut short/],
    ['are no context', Buffer.from('hello'), /do not begin/],
    [
      'are those of another size',
      encodeContext({ ticks: 0, pagesWritten: 0, random: new Uint32Array(4), generations: new Uint32Array(3) }),
      /3 pages/,
    ],
    ['have more behind them', Buffer.concat([good, Buffer.alloc(1)]), /1 bytes follow/],
    ['have counters that are no counts', altered(15, 0xff), /no counts/],
    ['name a page that is not there', altered(46, 0x7f), /names page/],
    ['hold an over-long number', Buffer.concat([good.subarray(0, 44), Buffer.alloc(200, 0xff)]), /over-long/],
  ] as const) {
    it(`are refused when they ${what}`, () => {
      expect(() => decodeContext(bytes, pages)).to.throw(text);
    });
  }
});
