import { expect } from 'chai';
import { framePieces } from '../../src/zstd/frames.js';

const MAGIC = Buffer.from('28b52ffd', 'hex');
const RLE_BLOCK = 128 * 1024;

/** A frame of RLE blocks of 128 KiB each, without a checksum: 4 bytes a block. */
function frameOf(blocks: number): Buffer {
  const bodies = Array.from({ length: blocks }, (_, index) => {
    const block = Buffer.alloc(4);
    block.writeUIntLE((RLE_BLOCK << 3) | (1 << 1) | (index === blocks - 1 ? 1 : 0), 0, 3);
    return block;
  });
  return Buffer.concat([MAGIC, Buffer.from([0x00, 0x48]), ...bodies]);
}

const SKIPPABLE = Buffer.from('532a4d1803000000616263', 'hex');
const EMPTY_SKIPPABLE = Buffer.from('502a4d1800000000', 'hex');

function walk(...chunks: Buffer[]): Buffer[] {
  return [...framePieces(chunks)];
}

function bytesOf(stream: Buffer): Buffer[] {
  return Array.from(stream, (byte) => Buffer.from([byte]));
}

describe('the pieces of a zstd stream', () => {
  it('end at most 8 blocks each, in order and complete', () => {
    const frame = frameOf(20);
    const pieces = walk(frame);
    expect(pieces.map((piece) => piece.length)).to.deep.equal([6 + 8 * 4, 8 * 4, 4 * 4]);
    expect(Buffer.concat(pieces)).to.deep.equal(frame);
  });

  const accepted: [what: string, stream: Buffer][] = [
    ['one frame', frameOf(3)],
    ['several frames', Buffer.concat([frameOf(1), frameOf(2)])],
    ['skippable frames around a frame', Buffer.concat([SKIPPABLE, frameOf(1), EMPTY_SKIPPABLE])],
    ['an empty last block', Buffer.concat([MAGIC, Buffer.from([0x00, 0x48, 0x01, 0x00, 0x00])])],
    [
      'a content size of 8 bytes and a dictionary of 4',
      Buffer.concat([MAGIC, Buffer.from(`e3${'00'.repeat(12)}010000`, 'hex')]),
    ],
    ['a checksum', Buffer.concat([MAGIC, Buffer.from('2400010000' + '99e9d851', 'hex')])],
  ];
  for (const [what, stream] of accepted) {
    it(`pass on ${what}, however it is cut`, () => {
      expect(Buffer.concat(walk(stream))).to.deep.equal(stream);
      expect(Buffer.concat(walk(...bytesOf(stream)))).to.deep.equal(stream);
    });
  }

  const refused: [what: string, stream: Buffer, message: RegExp][] = [
    ['nothing', Buffer.alloc(0), /input is empty/],
    ['a part of a magic number', MAGIC.subarray(0, 3), /ends early: in a magic number, 1 bytes/],
    ['a header without a block', frameOf(1).subarray(0, 6), /ends early: in a block header, 3 bytes/],
    ['a block that is cut', frameOf(2).subarray(0, -1), /ends early: in a block, 1 bytes/],
    ['a frame without its last block', frameOf(2).subarray(0, -4), /ends early: in a block header/],
    ['a frame without its checksum', Buffer.from('28b52ffd2400010000', 'hex'), /ends early: in a checksum, 4 bytes/],
    ['a skippable frame that is cut', SKIPPABLE.subarray(0, -1), /ends early: in a skippable frame, 1 bytes/],
    ['text', Buffer.from('plain text'), /not a zstd frame: the input starts with 706c6169/],
    [
      'text behind a frame',
      Buffer.concat([frameOf(1), Buffer.from('junk')]),
      /the data after a frame starts with 6a756e6b/,
    ],
    [
      'one byte behind a frame',
      Buffer.concat([frameOf(1), Buffer.from('j')]),
      /ends early: in a magic number, 3 bytes/,
    ],
    ['a reserved block type', Buffer.concat([MAGIC, Buffer.from([0x00, 0x48, 0x07, 0x00, 0x00])]), /reserved type 3/],
    [
      'a block over 128 KiB',
      Buffer.concat([MAGIC, Buffer.from([0x00, 0x48, 0x0b, 0x00, 0x10])]),
      /block of 131073 bytes/,
    ],
  ];
  for (const [what, stream, message] of refused) {
    it(`refuse ${what}, however it is cut`, () => {
      expect(() => walk(stream)).to.throw(message);
      expect(() => walk(...bytesOf(stream))).to.throw(message);
    });
  }
});
