import { crc32 } from 'node:zlib';
import { compress } from '@mongodb-js/zstd/bindings.js';
import { expect } from 'chai';
import fc from 'fast-check';
import { readVgpus, type VgpuState, writeVgpus } from '../../../src/wire/stream/vgpu-codec.js';
import { choppedReader } from '../../support/chopped.js';
import { randomBytes } from '../../support/random.js';

const piece = 1 << 20;

async function write(devices: readonly VgpuState[], form: 'plain' | 'compressed'): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const states = new Map(devices.map(({ device, state }) => [device, state]));
  await writeVgpus(
    async (...more) => void pieces.push(...more),
    [...states.keys()],
    async (device) => states.get(device) as Buffer,
    { compress: form === 'compressed' },
  );
  return Buffer.concat(pieces);
}

async function read(stream: Buffer, atOnce = 1 << 16) {
  const reader = choppedReader(stream, atOnce);
  const devices: VgpuState[] = [];
  for await (const device of readVgpus(reader)) devices.push(device);
  return { devices, left: reader.left() };
}

/** Reads of more bytes than the stream has are noted, and fail as a stream does that ends. */
function watched(stream: Buffer) {
  const asked: number[] = [];
  const reader = choppedReader(stream, 1 << 20);
  return {
    asked,
    async read(bytes: number) {
      asked.push(bytes);
      return reader(bytes);
    },
  };
}

const words = (...values: readonly number[]) => {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, 4 * index);
  return bytes;
};
const marker = Buffer.from('XFVGPU\n\0', 'latin1');
const name = Buffer.from('0');
/** A compressed stream of one device with these pieces, right but for what they say. */
const streamOf = (stateLength: number, ...pieces: readonly Buffer[]) =>
  Buffer.concat([marker, words(2, 1, name.length, stateLength), name, ...pieces, words(0)]);
const pieceOf = (codec: number, payload: Buffer, length = payload.length) => {
  const head = words(codec, length);
  return Buffer.concat([head, words(crc32(payload, crc32(head))), payload]);
};
const frame = (...blocks: readonly Buffer[]) => Buffer.concat([Buffer.from('28b52ffd0058', 'hex'), ...blocks]);
const block = (kind: number, size: number, last: boolean, ...content: readonly number[]) => {
  const bytes = Buffer.alloc(3);
  bytes.writeUIntLE((size << 3) | (kind << 1) | Number(last), 0, 3);
  return Buffer.concat([bytes, Buffer.from(content)]);
};
const outcome = (stream: Buffer) =>
  read(stream).then(
    ({ left }) => (left === 0 ? 'accepted' : 'vGPU stream: something follows'),
    (error: Error) => error.message,
  );

describe('vGPU stream', () => {
  const devices = [
    { device: '0', state: randomBytes(100) },
    { device: 'eleven', state: Buffer.alloc(0) },
    { device: '5', state: Buffer.alloc(300, 'state ') },
  ];

  for (const form of ['plain', 'compressed'] as const) {
    it(`gives the states back two bytes at a time, and leaves what is behind them (${form})`, async () => {
      const stream = await write(devices, form);
      expect(await read(Buffer.concat([stream, Buffer.from('behind')]), 2)).to.deep.equal({ devices, left: 6 });
    });

    it(`is refused wherever it is cut or changed (${form})`, async () => {
      const stream = await write(devices, form);
      for (let at = 0; at < stream.length; at += 1) {
        const changed = [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xff].map((mask) => {
          const copy = Buffer.from(stream);
          copy[at] = (copy[at] as number) ^ mask;
          return copy;
        });
        for (const damaged of [stream.subarray(0, at), ...changed]) {
          expect(await outcome(damaged)).to.match(/ended early|vGPU stream: |zstd frame refused: /);
        }
      }
    });
  }

  it('is of version 1, byte for byte, when it is plain', async () => {
    const stream = await write([{ device: '7', state: Buffer.from('abc') }], 'plain');
    expect(stream.toString('hex')).to.equal(
      `${'5846564750550a00'}${'01000000'}${'01000000'}${'01000000'}${'03000000'}${'37'}${'616263'}${'d487dd86'}`,
    );
  });

  for (const bytes of [1, piece - 1, piece, piece + 1, 6 * piece + 17]) {
    it(`is smaller when it is compressed, and gives ${bytes} bytes back`, async () => {
      const state = Buffer.alloc(bytes, 'some state of a virtual GPU, ');
      const stream = await write([{ device: '0', state }], 'compressed');
      if (bytes > 1) expect(stream.length).to.be.below(bytes / 100);
      const { devices: came } = await read(stream);
      expect(came[0]?.state.equals(state)).to.equal(true);
    });
  }

  it('stores the pieces that do not shrink', async () => {
    const state = Buffer.concat([randomBytes(piece), Buffer.alloc(piece), randomBytes(10)]);
    const stream = await write([{ device: '0', state }], 'compressed');
    expect(stream.length).to.be.within(piece + 10, piece + 300);
    expect((await read(stream)).devices[0]?.state.equals(state)).to.equal(true);
  });

  it('asks for one state at a time', async () => {
    const order: string[] = [];
    await writeVgpus(
      async () => void order.push('write'),
      ['0', '1'],
      async (device) => {
        order.push(device);
        return Buffer.alloc(8);
      },
      { compress: true },
    );
    expect(order.indexOf('1')).to.be.above(order.indexOf('0') + 2);
  });

  for (const [what, stream, message] of [
    ['an unknown version', Buffer.concat([marker, words(3, 0)]), 'version 3; supported: 1, 2'],
    ['too many devices', Buffer.concat([marker, words(2, 65)]), '65 devices; allowed: 64'],
    ['a long name', Buffer.concat([marker, words(2, 1, 256, 0)]), '256 bytes of name; allowed: 255'],
    ['a state beyond the limit', Buffer.concat([marker, words(2, 1, 1, 2 ** 26 + 1)]), 'allowed: 67108864'],
    ['an unknown codec', streamOf(8, pieceOf(2, Buffer.alloc(8))), 'codec 2; known: 0 and 1'],
    ['a stored piece that is too short', streamOf(8, pieceOf(0, Buffer.alloc(7))), 'a piece of 7 bytes for 8'],
    ['a stored piece that is too long', streamOf(8, pieceOf(0, Buffer.alloc(9))), 'a piece of 9 bytes for 8'],
    ['a frame as long as its piece', streamOf(8, pieceOf(1, Buffer.alloc(8))), 'a piece of 8 bytes for 8'],
    ['a frame of no bytes', streamOf(8, pieceOf(1, Buffer.alloc(0))), 'no zstd frame'],
    ['a piece that claims 4 GiB', streamOf(8, pieceOf(1, Buffer.alloc(0), 0xffffffff)), '4294967295 bytes'],
    [
      'a frame that holds a GiB',
      streamOf(
        2 * piece,
        pieceOf(1, frame(...Array.from({ length: 8192 }, (_, index) => block(1, 131072, index === 8191, 0)))),
      ),
      'could hold more than the 1048576 bytes',
    ],
    ['a frame that is longer', streamOf(100, pieceOf(1, frame(block(1, 200, true, 7)))), 'does not expand'],
    ['a frame that is shorter', streamOf(100, pieceOf(1, frame(block(1, 50, true, 7)))), 'of 50 bytes instead of 100'],
    ['a frame of nonsense', streamOf(100, pieceOf(1, frame(block(2, 5, true, 1, 2, 3, 4, 5)))), 'does not expand'],
    [
      'two frames',
      streamOf(100, pieceOf(1, Buffer.concat([frame(block(1, 50, true, 7)), frame()]))),
      'where the frame',
    ],
    ['a wrong checksum of a piece', streamOf(4, Buffer.concat([words(0, 4, 1), Buffer.alloc(4)])), 'a wrong checksum'],
    ['a wrong checksum of the device', streamOf(4, pieceOf(0, Buffer.alloc(4))), '0 is damaged'],
  ] as const) {
    it(`is refused with ${what}`, async () => {
      expect(await outcome(stream)).to.contain(message);
    });
  }

  it('may have frames of many small blocks, as newer libraries make them, where they say how long their content is', async () => {
    const blocks = Array.from({ length: 100 }, (_, index) => block(1, 5000, index === 99, 7));
    const sized = Buffer.concat([Buffer.from('28b52ffda0', 'hex'), words(500_000), ...blocks]);
    const state = Buffer.alloc(500_000, 7);
    const stream = streamOf(state.length, pieceOf(1, sized)).subarray(0, -4);
    expect(await outcome(Buffer.concat([stream, words(crc32(state, crc32(name)))]))).to.equal('accepted');
    expect(await outcome(streamOf(499_999, pieceOf(1, sized)))).to.contain('a content size of 500000 where 499999');
  });

  it('asks for no more than a piece at a time, whatever lengths it claims', async () => {
    for (const stream of [
      streamOf(2 ** 26, pieceOf(1, Buffer.alloc(0), piece - 1)),
      streamOf(2 ** 26, pieceOf(0, Buffer.alloc(0), piece)),
      streamOf(2 ** 26, pieceOf(1, Buffer.alloc(0), 0xffffffff)),
    ]) {
      const source = watched(stream);
      const states = readVgpus(source.read);
      expect(await states.next().catch((error: Error) => error)).to.be.instanceOf(Error);
      expect(Math.max(...source.asked)).to.be.at.most(piece);
    }
  });

  it('is read in pieces of other makes than ours', async () => {
    const state = Buffer.concat([Buffer.alloc(piece, 1), Buffer.from('the end')]);
    const stream = streamOf(
      state.length,
      pieceOf(1, await compress(state.subarray(0, piece), 9)),
      pieceOf(0, state.subarray(piece)),
    );
    stream.writeUInt32LE(crc32(state, crc32(name)), stream.length - 4);
    expect((await read(stream)).devices[0]?.state.equals(state)).to.equal(true);
  });

  it('gives any states back', async () => {
    const state = fc
      .tuple(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 20_000 }))
      .map(([bytes, times]) => Buffer.concat(Array<Uint8Array>(Math.ceil(times / (bytes.length + 1))).fill(bytes)));
    await fc.assert(
      fc.asyncProperty(fc.array(state, { maxLength: 5 }), fc.boolean(), async (states, compressed) => {
        const given = states.map((each, index) => ({ device: String(index), state: each }));
        const stream = await write(given, compressed ? 'compressed' : 'plain');
        expect(await read(stream)).to.deep.equal({ devices: given, left: 0 });
      }),
      { numRuns: 40 },
    );
  });
});
