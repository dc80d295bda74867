import { deflateRawSync } from 'node:zlib';
import { expect } from 'chai';
import { pageSize } from '../../../src/base/domain.js';
import { createPageClassifier, isZero, type PageContent } from '../../../src/emu-manager/memory/page-content.js';
import { randomBytes } from '../../support/random.js';

const words = Buffer.alloc(pageSize);
for (let at = 0; at < pageSize; at += 8) words.writeBigUInt64LE(0xffff_8880_0000_0000n + BigInt(at * at * 7), at);
const prose = Buffer.alloc(pageSize, 'It was the best of times, it was the worst of times; ');
const oneBit = Buffer.alloc(pageSize);
oneBit[pageSize - 1] = 1;

describe('page content', () => {
  for (const [what, page, content] of [
    ['zeros', Buffer.alloc(pageSize), 'zero'],
    ['a single bit', oneBit, 'binary'],
    ['a word over and over', Buffer.alloc(pageSize, 'deadbeef'), 'repeated'],
    ['a byte over and over', Buffer.alloc(pageSize, 0xcc), 'repeated'],
    ['text behind a header', Buffer.concat([Buffer.from([7, 0, 0, 1, 200]), prose]).subarray(0, pageSize), 'text'],
    ['random bytes', randomBytes(pageSize), 'random'],
    [
      'compressed data',
      deflateRawSync(randomBytes(2 * pageSize).toString('hex')).subarray(64, 64 + pageSize),
      'random',
    ],
    ['text', prose, 'text'],
    ['hexadecimal', Buffer.from(randomBytes(pageSize / 2).toString('hex')), 'text'],
    ['pointers', words, 'binary'],
  ] as const satisfies readonly (readonly [string, Buffer, PageContent])[]) {
    it(`is told for ${what}, wherever the page lies`, () => {
      const classify = createPageClassifier();
      expect(page.length).to.equal(pageSize);
      expect(classify(page, 0)).to.equal(content);
      expect(classify(Buffer.concat([Buffer.alloc(pageSize, 'x'), page]), pageSize)).to.equal(content);
    });
  }

  it('is told to be all zeros for several pages at once', () => {
    const memory = Buffer.alloc(20 * pageSize);
    memory[18 * pageSize - 1] = 1;
    expect(isZero(memory, pageSize, 16 * pageSize)).to.equal(true);
    expect(isZero(memory, 2 * pageSize, 16 * pageSize)).to.equal(false);
  });
});
