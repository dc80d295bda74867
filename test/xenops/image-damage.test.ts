import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { messageOf } from '../../src/base/errors.js';
import { encodeHeader, headerBytes, signatureBytes } from '../../src/wire/stream/suspend-image.js';
import { restoreImage } from '../../src/xenops/image.js';
import { messageOfFailure } from '../wire/connection/connections.js';
import { type ImageLab, openImageLab, type SavedImage } from './image-lab.js';

const pages = 64;
const headerOfXenops = signatureBytes;

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ 0x10, at);
  return copy;
}

function spliced(bytes: Buffer, at: number, put: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + put.length)]);
}

describe('a damaged suspend image', function () {
  this.timeout(60_000);
  let images: ImageLab;
  let whole: SavedImage;
  /** Where the header of the memory stream is. */
  let libxc: number;
  before(async () => {
    images = await openImageLab();
    whole = await images.save(await images.boot(['0'], pages), ['0'], { live: false });
    libxc = headerOfXenops + headerBytes + Number(whole.memory.readBigInt64LE(headerOfXenops + 8));
  });
  afterEach(() => images.nothingLeft());
  after(() => images.close());

  const compressed = (bytes: Buffer) => execFileSync('zstd', ['--fast', '-q'], { input: bytes, maxBuffer: 1 << 26 });
  const restored = (bytes: Buffer, zstd: boolean) =>
    images.restore(bytes, { pages, ...(zstd ? { zstd: images.codecs.real } : {}) });

  const end = encodeHeader('end');
  const rows: [what: string, change: (image: Buffer) => Buffer, said: RegExp][] = [
    ['it is empty', () => Buffer.alloc(0), /the peer closed the connection/],
    ['it ends in its signature', (image) => image.subarray(0, 7), /the peer closed the connection/],
    ['it has another signature', (image) => flipped(image, 3), /not a suspend image/],
    ['it ends in its first header', (image) => image.subarray(0, headerOfXenops + 5), /the peer closed the connection/],
    [
      'its first header is another',
      (image) => spliced(image, headerOfXenops, encodeHeader('vgpu')),
      /vgpu in place of xenops/,
    ],
    ['its first header is unknown', (image) => flipped(image, headerOfXenops + 2), /a header of unknown type/],
    ['its record is too long', (image) => flipped(image, headerOfXenops + 12), /a xenops header with length/],
    ['its record is cut', (image) => image.subarray(0, libxc - 5), /the peer closed the connection/],
    ['its record is none', (image) => flipped(image, headerOfXenops + headerBytes), /INTERNAL_ERROR/],
    ['it ends before the memory stream', (image) => image.subarray(0, libxc), /the peer closed the connection/],
    ['there is no memory stream', (image) => spliced(image, libxc, end), /end in place of libxc/],
    ['the memory stream is none', (image) => flipped(image, libxc + headerBytes), /emu-manager/],
    ['the memory stream is empty', (image) => image.subarray(0, libxc + headerBytes), /emu-manager/],
    ['the memory stream ends in its middle', (image) => image.subarray(0, image.length >> 1), /emu-manager/],
    ['the memory stream has no END', (image) => image.subarray(0, image.length - headerBytes - 8), /emu-manager/],
    [
      'it has no end header',
      (image) => image.subarray(0, image.length - headerBytes),
      /the peer closed the connection/,
    ],
    ['its end header is cut', (image) => image.subarray(0, image.length - 1), /the peer closed the connection/],
    ['its end header is another', (image) => flipped(image, image.length - headerBytes), /a header of unknown type/],
    ['a byte follows', (image) => Buffer.concat([image, Buffer.of(0)]), /bytes behind the end of the stream/],
    ['its end header comes twice', (image) => Buffer.concat([image, end]), /bytes behind the end of the stream/],
    ['another image follows', (image) => Buffer.concat([image, image]), /bytes behind the end of the stream/],
  ];
  for (const [what, change, said] of rows) {
    for (const zstd of [false, true]) {
      it(`is refused when ${what}${zstd ? ', in a whole frame of zstd' : ''}`, async () => {
        const bytes = change(whole.memory);
        expect(await messageOfFailure(restored(zstd ? compressed(bytes) : bytes, zstd))).to.match(said);
      });
    }
  }

  const frames: [what: string, change: (frame: Buffer) => Buffer, said: RegExp][] = [
    ['a byte is flipped', (frame) => flipped(frame, frame.length >> 1), /zstd.* -d .*exit status 1/],
    ['its checksum is wrong', (frame) => flipped(frame, frame.length - 1), /zstd.* -d .*exit status 1/],
    ['its last byte is missing', (frame) => frame.subarray(0, frame.length - 1), /zstd.* -d .*exit status 1/],
    ['half of it is missing', (frame) => frame.subarray(0, frame.length >> 1), /exit status 1/],
    ['something else follows', (frame) => Buffer.concat([frame, Buffer.from('something')]), /exit status 1/],
    ['it is not compressed', () => whole.memory, /exit status 1/],
  ];
  for (const [what, change, said] of frames) {
    for (const codec of ['real', 'standIn'] as const) {
      it(`is refused when ${what}, with what the codec says (${codec})`, async () => {
        const bytes = change(compressed(whole.memory));
        const failure = images.restore(bytes, { pages, zstd: images.codecs[codec] });
        expect(await messageOfFailure(failure)).to.match(codec === 'real' ? said : /exit status 1/);
      });
    }
  }

  it('is refused when it is compressed and nobody said so', async () => {
    expect(await messageOfFailure(restored(compressed(whole.memory), false))).to.match(/not a suspend image/);
  });

  for (const [what, bytes, said] of [
    ['the image is whole, and does not end', () => whole.memory, 'no end of the stream within 0.1 s'],
    [
      'its end header does not come',
      () => whole.memory.subarray(0, -headerBytes),
      'no answer from the peer within 0.1 s',
    ],
  ] as const) {
    it(`is not waited for longer than was said when ${what}`, async () => {
      const failure = images.restore(bytes(), { pages, ends: false, endTimeoutMs: 100 });
      expect(await messageOfFailure(failure)).to.contain(said);
    });
  }

  const states: [what: string, change: (state: Buffer) => Buffer][] = [
    ['is empty', () => Buffer.alloc(0)],
    ['has another header', (state) => spliced(state, 0, encodeHeader('libxc'))],
    ['has no content', (state) => state.subarray(0, headerBytes)],
    ['is cut', (state) => state.subarray(0, state.length >> 1)],
    ['has no end header', (state) => state.subarray(0, state.length - headerBytes)],
    ['goes on behind its end', (state) => Buffer.concat([state, Buffer.of(1)])],
  ];
  for (const [what, change] of [['is whole', (state: Buffer) => state] as const, ...states]) {
    it(`${what === 'is whole' ? 'is none' : 'is refused'} when the channel of a vGPU ${what}`, async () => {
      const { connections, lab, restoreInit } = images;
      const handle = await lab.createDomain({ vgpus: ['0'], memoryBytes: pages * 4096 });
      const [memory, vgpu] = [await connections.adopted(), await connections.adopted()];
      memory.peer.end(whole.memory);
      vgpu.peer.end(change(whole.vgpu.get('0') as Buffer));
      const channels = { memory: memory.raw, vgpu: new Map([['0', vgpu.raw]]) };
      const failure = await restoreImage(restoreInit(handle, memory.raw, { channels })).then(
        () => undefined,
        (error: unknown) => messageOf(error),
      );
      expect(failure === undefined).to.equal(what === 'is whole');
      expect(await lab.simulator.destroyUnlessRan(handle)).to.equal(true);
    });
  }
});
