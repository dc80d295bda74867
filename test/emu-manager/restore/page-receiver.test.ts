import { expect } from 'chai';
import { pageSize } from '../../../src/base/domain.js';
import type { PageWriter } from '../../../src/emu-manager/memory/domain-memory.js';
import type { Source } from '../../../src/emu-manager/process/descriptor.js';
import { createPageReceiver, createRingReader } from '../../../src/emu-manager/restore/page-receiver.js';
import { type Codec, encodePages } from '../../../src/wire/stream/page-codec.js';
import { compressPagesHere } from '../../../src/wire/stream/page-frames.js';
import { randomBytes } from '../../support/random.js';

const pages = 400;

/** A memory that is written to without a file. */
function createMemory() {
  const bytes = Buffer.alloc(pages * pageSize);
  const writer: PageWriter = {
    write: ({ pfns, data }) => {
      for (const [index, pfn] of pfns.entries())
        data.copy(bytes, pfn * pageSize, index * pageSize, (index + 1) * pageSize);
    },
    clear: (pfns) => {
      for (const pfn of pfns) bytes.fill(0, pfn * pageSize, (pfn + 1) * pageSize);
    },
    missing: () => 0,
  };
  return { bytes, writer };
}

/** A record's body of pages that are half random, so that it is long, and compresses. */
function bodyOf(codec: Codec, first: number, count: number, raw: Buffer): Buffer {
  const pfns = Array.from({ length: count }, (_, index) => first + index);
  const payload = codec === 'zstd' ? compressPagesHere(raw, 1) : codec === 'stored' ? raw : Buffer.alloc(0);
  const record = Buffer.concat(encodePages(codec, pfns, payload));
  return record.subarray(8, 8 + record.readUInt32LE(4));
}

function halfRandom(count: number): Buffer {
  const raw = Buffer.alloc(count * pageSize, 'half of it is text');
  for (let at = 0; at < raw.length; at += pageSize) randomBytes(pageSize / 2).copy(raw, at);
  return raw;
}

function sourceOf(bytes: Buffer): Source {
  let at = 0;
  return {
    async readInto(buffer) {
      at += bytes.copy(buffer, 0, at, at + buffer.length);
    },
  };
}

describe('receiving pages', () => {
  for (const expanding of [0, 1, 2, 8]) {
    it(`gives the last copy of each page, with ${expanding} frames expanding beside, from a ring of buffers`, async () => {
      const expected = Buffer.alloc(pages * pageSize);
      const bodies: Buffer[] = [];
      for (let round = 0; round < 4; round += 1) {
        for (let first = 0; first < pages; first += 80) {
          const codec = (['zstd', 'zstd', 'zstd', 'stored', 'zero'] as const)[(first / 80 + round) % 5] as Codec;
          const raw = codec === 'zero' ? Buffer.alloc(80 * pageSize) : halfRandom(80);
          raw.copy(expected, first * pageSize);
          bodies.push(bodyOf(codec, first, 80, raw));
        }
      }
      const { bytes, writer } = createMemory();
      const read = createRingReader(sourceOf(Buffer.concat(bodies)), expanding);
      const receiver = createPageReceiver(writer, expanding);
      for (const body of bodies) await receiver.compressed(await read(body.length));
      await receiver.end();
      expect(receiver.received()).to.equal(4 * pages);
      expect(bytes.equals(expected)).to.equal(true);
    });

    it(`fails like the frame that does not expand, with ${expanding} frames expanding beside`, async () => {
      const raw = halfRandom(2);
      const frame = compressPagesHere(raw.subarray(0, pageSize), 1);
      const record = Buffer.concat(encodePages('zstd', [1, 2], frame));
      const receiver = createPageReceiver(createMemory().writer, expanding);
      const failed = receiver
        .compressed(record.subarray(8, 8 + record.readUInt32LE(4)))
        .then(() => receiver.end())
        .catch((error: Error) => error.message);
      expect(await failed).to.match(/a content size of 4096 where 8192|a frame of 4096 bytes instead of 8192/);
    });
  }
});
