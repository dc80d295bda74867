/** Every way to call zstd that the running Node has, on the same frames: right, damaged and hostile ones. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import zlib from 'node:zlib';
import { expect } from 'chai';
import { openAddons, openNode } from '../../../src/base/zstd/addons.js';
import { openFfi } from '../../../src/base/zstd/ffi.js';
import { frameRoom, type Zstd } from '../../../src/base/zstd/way.js';
import { openZstd } from '../../../src/base/zstd/zstd.js';
import { randomBytes } from '../../support/random.js';

const kib = 1024;
const text = (bytes: number) => Buffer.alloc(bytes, 'In the beginning was the page. ');
const mixed = (bytes: number) => {
  const half = bytes >> 1;
  return Buffer.concat([text(bytes - half), randomBytes(half)]);
};
const hasNodeZstd = 'zstdDecompress' in zlib;

const zstd = await openZstd();
const opened = { ffi: await openFfi(), node: await openNode(), addons: await openAddons() };
const ways = Object.entries(opened).flatMap(([name, way]) => (way === undefined ? [] : [{ name, way }]));

/** Both forms of a call, as one that may fail. */
const expanders = ({ expand, expandSync }: Zstd) => [
  { how: 'in this thread', expand: async (frame: Buffer, room: Buffer) => expandSync(frame, room) },
  { how: 'in another', expand },
];

const contents: [what: string, data: Buffer][] = [
  ['a byte', Buffer.from('x')],
  ['a page', mixed(4 * kib)],
  ['a byte less than a block', mixed(128 * kib - 1)],
  ['a block', mixed(128 * kib)],
  ['a byte more than a block', mixed(128 * kib + 1)],
  ['a MiB of zeros', Buffer.alloc(1024 * kib)],
  ['a MiB of text', text(1024 * kib)],
  ['a MiB that cannot be compressed', randomBytes(1024 * kib)],
  ['4 MiB', mixed(4096 * kib)],
];

const magic = Buffer.from('28b52ffd', 'hex');
/** A block of a run. */
const run = (size: number, last: boolean) => {
  const header = Buffer.alloc(4, 'x');
  header.writeUIntLE((size << 3) | 2 | Number(last), 0, 3);
  return header;
};
const runs = (count: number) => Array.from({ length: count }, (_, index) => run(128 * kib, index === count - 1));

/** What is no frame of 8 KiB of content. */
const hostile: [what: string, frame: Buffer][] = [
  ['nothing', Buffer.alloc(0)],
  ['no frame', Buffer.from('no frame at all')],
  ['a frame of 256 MiB that does not say so', Buffer.concat([magic, Buffer.from('0058', 'hex'), ...runs(2048)])],
  ['a frame of 256 MiB', Buffer.concat([magic, Buffer.from('a000000010', 'hex'), ...runs(2048)])],
  ['a frame that says 8 KiB and has 256 MiB', Buffer.concat([magic, Buffer.from('a000200000', 'hex'), ...runs(2048)])],
  [
    'a frame that says 2^63 bytes',
    Buffer.concat([magic, Buffer.from('e00000000000000080', 'hex'), run(8 * kib, true)]),
  ],
  ['a frame that needs a dictionary', Buffer.concat([magic, Buffer.from('215800', 'hex'), run(8 * kib, true)])],
  ['a reserved block', Buffer.concat([magic, Buffer.from('0058070000', 'hex')])],
  ['a frame with a byte behind', Buffer.concat([zstd.compressSync(text(8 * kib), 1), Buffer.of(0)])],
  [
    'a frame with a longer one behind',
    Buffer.concat([zstd.compressSync(text(8 * kib), 1), zstd.compressSync(text(99 * kib), 1)]),
  ],
];

describe('zstd', () => {
  it('is there in each way that this Node has', () => {
    const expected = hasNodeZstd ? ['addons', 'node'] : ['addons'];
    expect(ways.map(({ name }) => name).sort()).to.include.members(expected);
    expect(opened.node === undefined).to.equal(!hasNodeZstd);
  });

  it('is called in the fastest way that there is', () => {
    expect(zstd.way).to.equal(ways[0]?.way.way);
    if (opened.ffi !== undefined)
      expect(zstd.way).to.match(/^zstd 1\.[\d.]+ of (Node|@cloudpss\/zstd), called by FFI$/);
  });
});

for (const { name, way } of ways) {
  describe(`zstd by ${name}`, function () {
    this.timeout(20_000);

    for (const [what, data] of contents) {
      it(`gives back ${what} at each level, whichever way made the frame`, async () => {
        for (const { way: other } of ways) {
          for (const level of [-7, -5, 1, 9]) {
            const room = Buffer.alloc(frameRoom(data.length));
            const frames = [
              other.compressSync(data, level),
              other.compressSync(data, level, room),
              await other.compress(data, level),
            ];
            for (const frame of frames) {
              expect(frame.length).to.be.at.most(frameRoom(data.length));
              for (const { how, expand } of expanders(way)) {
                const content = await expand(frame, Buffer.alloc(data.length));
                expect(content.equals(data), `level ${level}, expanded ${how}`).to.equal(true);
              }
            }
          }
        }
      });
    }

    it('says how long a content is that is shorter than its room', async () => {
      const frame = (await opened.addons.compress(text(5 * kib), 1)) as Buffer;
      for (const { expand } of expanders(way))
        expect((await expand(frame, Buffer.alloc(6 * kib))).length).to.equal(5 * kib);
    });

    for (const { how, expand } of expanders(way)) {
      for (const [what, frame] of hostile) {
        it(`refuses ${what} ${how}, without growth, and goes on`, async () => {
          const before = process.memoryUsage().rss;
          const guarded = Buffer.alloc(3 * 8 * kib, 0xaa);
          const refused = await expand(frame, guarded.subarray(8 * kib, 16 * kib)).then(
            (content) => (content.length > 0 ? `${content.length} bytes` : undefined),
            () => undefined,
          );
          expect(refused).to.equal(undefined);
          expect(process.memoryUsage().rss - before).to.be.below(64 * kib * kib);
          for (const side of [guarded.subarray(0, 8 * kib), guarded.subarray(16 * kib)]) {
            expect(side.equals(Buffer.alloc(8 * kib, 0xaa)), 'what is beside the room').to.equal(true);
          }
          const room = Buffer.alloc(8 * kib);
          expect((await expand(way.compressSync(text(8 * kib), 1), room)).equals(text(8 * kib))).to.equal(true);
        });
      }

      it(`is not harmed by frames that are cut or damaged anywhere ${how}`, async () => {
        const data = mixed(8 * kib);
        const frame = zstd.compressSync(text(8 * kib), 1);
        const room = Buffer.alloc(data.length);
        for (let at = 0; at < frame.length; at += 1) {
          const damaged = Buffer.from(frame);
          damaged[at] = (damaged[at] as number) ^ 0x55;
          for (const bad of [frame.subarray(0, at), damaged]) {
            const length = await expand(bad, room).then(
              (content) => content.length,
              () => 0,
            );
            expect(length, `byte ${at}`).to.be.at.most(room.length);
          }
          expect((await expand(frame, room)).equals(text(8 * kib))).to.equal(true);
        }
      });
    }

    it('refuses a room that is too short for the frame, or makes its own', async () => {
      const data = randomBytes(64 * kib);
      for (const compress of [
        async (room: Buffer) => way.compressSync(data, 1, room),
        (room: Buffer) => way.compress(data, 1, room),
      ]) {
        const frame = await compress(Buffer.alloc(100)).catch(() => undefined);
        if (frame !== undefined) expect(way.expandSync(frame, Buffer.alloc(data.length)).equals(data)).to.equal(true);
      }
    });

    it('keeps many calls apart that are under way at once', async () => {
      const all = Array.from({ length: 40 }, (_, index) => Buffer.alloc(64 * kib + index, `call ${index} `));
      const back = await Promise.all(
        all.map(async (data, index) =>
          way.expand(await way.compress(data, (index % 9) - 4), Buffer.alloc(data.length)),
        ),
      );
      expect(back.map((data, index) => data.equals(all[index] as Buffer))).to.deep.equal(all.map(() => true));
    });

    it('lets a program end in the middle of calls, once it is closed', async () => {
      const program = `
        const { open${name === 'ffi' ? 'Ffi' : name === 'node' ? 'Node' : 'Addons'}: open } = await import(process.argv[1]);
        const way = await open();
        const data = Buffer.alloc(1 << 20, 'some text that repeats itself');
        for (let i = 0; i < 8; i += 1) void way.compress(data, 19);
        await way.close();
        process.exit(7);`;
      const module = new URL(`../../../src/base/zstd/${name === 'ffi' ? 'ffi' : 'addons'}.js`, import.meta.url).href;
      const child = spawn(process.execPath, ['--input-type=module', '-e', program, module], { stdio: 'inherit' });
      expect(await once(child, 'exit')).to.deep.equal([7, null]);
    });
  });
}
