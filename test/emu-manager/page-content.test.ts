import { randomBytes } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { expect } from 'chai';
import { pageSize } from '../../src/base/hypervisor-protocol.js';
import { createPageClassifier, type PageContent } from '../../src/emu-manager/page-content.js';

const words = Buffer.alloc(pageSize);
for (let at = 0; at < pageSize; at += 8) words.writeBigUInt64LE(0xffff_8880_0000_0000n + BigInt(at * at * 7), at);
const oneBit = Buffer.alloc(pageSize);
oneBit[pageSize - 1] = 1;

describe('page content', () => {
  for (const [what, page, content] of [
    ['zeros', Buffer.alloc(pageSize), 'zero'],
    ['a single bit', oneBit, 'binary'],
    ['random bytes', randomBytes(pageSize), 'random'],
    [
      'compressed data',
      deflateRawSync(randomBytes(2 * pageSize).toString('hex')).subarray(64, 64 + pageSize),
      'random',
    ],
    ['text', Buffer.alloc(pageSize, 'It was the best of times, it was the worst of times; '), 'text'],
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
});
