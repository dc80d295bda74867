import { expect } from 'chai';
import { createContentChecksum } from '../../src/zstd/xxh64.js';

function checksumOf(...parts: Uint8Array[]): number {
  const checksum = createContentChecksum();
  for (const part of parts) checksum.update(part);
  return checksum.digest();
}

describe('the content checksum', () => {
  const published: [text: string, low32: number][] = [
    ['', 0x51d8e999],
    ['a', 0xa98c6e5b],
    ['abc', 0xad770999],
    ['Nobody inspects the spammish repetition', 0x8a378bf1],
  ];
  for (const [text, low32] of published) {
    it(`of ${JSON.stringify(text)} is the low half of its published XXH64`, () => {
      expect(checksumOf(Buffer.from(text))).to.equal(low32);
    });
  }

  it('does not depend on how the content is cut, nor on where it lies in memory', () => {
    const content = Buffer.from(Array.from({ length: 301 }, (_, index) => (index * index * 7 + index) & 0xff));
    const whole = checksumOf(content);
    for (let cut = 0; cut <= content.length; cut += 1) {
      expect(checksumOf(content.subarray(0, cut), content.subarray(cut)), `cut at ${cut}`).to.equal(whole);
    }
  });
});
