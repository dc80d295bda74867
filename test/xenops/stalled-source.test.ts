/** Sources at the other end of real connections, which bring a domain's image too slowly, or bring what is no part of it. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { pageSize } from '../../src/base/domain.js';
import { type RawSocket, socketInode } from '../../src/wire/connection/raw-socket.js';
import { type ImageInit, restoreImage, type SaveInit } from '../../src/xenops/image.js';
import { bytesWithin, looks } from '../../src/xenops/progress-watch.js';
import { testLimits } from '../support/limits.js';
import { openManualTimer } from '../support/manual-timer.js';
import { type ImageLab, openImageLab, type SavedImage } from './image-lab.js';

type Channel = 'memory' | 'vGPU';

/** What a source looks at the progress with, and the destination's end of its connection. */
interface Tools {
  readonly look: () => void;
  readonly inode: string | undefined;
}

const limits = { ...testLimits, progressTimeoutMs: 60_000, suspendTimeoutMs: 0 };
/** Between two looks. */
const leastBytes = bytesWithin(limits.progressTimeoutMs) / looks;
const pages = 1024;
const stalled = /the copy stalled on the memory channel: less than 16 KiB\/s for [\d.]+ s/;

/** A frame of zstd without content (RFC 8878, 3.1.2). */
function skippableFrame(bytes: number): Buffer {
  const frame = Buffer.alloc(8 + bytes);
  frame.writeUInt32LE(0x184d2a50, 0);
  frame.writeUInt32LE(bytes, 4);
  return frame;
}

/** Resolves when whoever holds the socket with this inode has read everything that was sent. */
async function untilRead(from: RawSocket, inode: string | undefined): Promise<void> {
  const ends = [socketInode(from.fd), inode];
  const queues = (): string[] =>
    readFileSync('/proc/self/net/tcp', 'latin1')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => ends.includes(fields[9]))
      .map((fields) => fields[4] as string);
  while (queues().some((bytes) => bytes !== '00000000:00000000')) await delay(2);
}

describe('an image comes from a source', function () {
  this.timeout(60_000);
  let images: ImageLab;
  before(async () => {
    images = await openImageLab();
  });
  after(async () => {
    await images.nothingLeft();
    await images.close();
  });

  const compressors: Record<string, () => Partial<SaveInit> & Partial<ImageInit>> = {
    none: () => ({}),
    zstd: () => ({ zstd: images.codecs.real }),
    'the stand-in for zstd': () => ({ zstd: images.codecs.standIn }),
    xenguest: () => ({ compression: {} }),
  };

  /** Restore from channels that are sent to as they are told. @returns the failure; undefined for a success */
  const restore = async (
    over: Partial<ImageInit>,
    send: (channel: Channel, to: RawSocket, tools: Tools) => Promise<void>,
  ): Promise<string | undefined> => {
    const { rawPair } = images.connections;
    const [[memory, fromMemory], [vgpu, fromVgpu]] = await Promise.all([rawPair(), rawPair()]);
    const handle = await images.lab.createDomain({ vgpus: ['0'], memoryBytes: pages * pageSize });
    const timer = openManualTimer();
    const tools = ({ fd }: RawSocket) => ({ look: timer.look, inode: socketInode(fd) });
    // A source whose destination has given up is told so by its connection.
    const sources = Promise.allSettled([
      send('memory', fromMemory, tools(memory)),
      send('vGPU', fromVgpu, tools(vgpu)),
    ]);
    const channels = { memory, vgpu: new Map([['0', vgpu]]) };
    const init = { channels, every: timer.every, limits, ...over };
    const failure = await restoreImage(images.restoreInit(handle, memory, init)).then(
      () => undefined,
      (error: Error) => error.message,
    );
    for (const each of [memory, vgpu, fromMemory, fromVgpu]) each.destroy();
    await sources;
    await images.lab.simulator.destroy(handle);
    return failure;
  };
  const sendWhole = async (to: RawSocket, bytes: Buffer): Promise<void> => {
    await to.write(bytes);
    await to.end();
  };
  /** Look when each piece was read, for as long as somebody takes pieces. */
  const sendPieces = async (to: RawSocket, next: () => Buffer, { look, inode }: Tools): Promise<void> => {
    for (;;) {
      await to.write(next());
      await untilRead(to, inode);
      look();
    }
  };
  /** Save a domain whose memory does not compress. */
  const saveRandom = async (over: Partial<SaveInit> = {}): Promise<SavedImage> => {
    const profile = { zero: 0, program: 0, text: 0, random: 1 };
    const handle = await images.lab.createDomain({ vgpus: ['0'], memoryBytes: pages * pageSize, profile });
    await images.lab.simulator.build(handle);
    const image = await images.save(handle, ['0'], over);
    await images.lab.simulator.destroy(handle);
    return image;
  };

  for (const [name, over] of Object.entries(compressors)) {
    describe(`(${name})`, () => {
      let image: SavedImage;
      const bytesOf = (channel: Channel): Buffer =>
        channel === 'memory' ? image.memory : (image.vgpu.get('0') as Buffer);
      before(async () => {
        image = await saveRandom(over());
      });

      for (const slow of ['memory', 'vGPU'] as const) {
        it(`and fails when too little comes on the ${slow} channel`, async () => {
          const failure = await restore(over(), async (channel, to, tools) => {
            const bytes = bytesOf(channel);
            if (channel !== slow) return sendWhole(to, bytes);
            let at = bytes.length >> 1;
            await to.write(bytes.subarray(0, at));
            const next = (): Buffer => {
              at += 32;
              return bytes.subarray(at - 32, at);
            };
            return sendPieces(to, next, tools);
          });
          expect(failure).to.match(stalled);
        });

        it(`and is restored when twice the least comes on the ${slow} channel`, async () => {
          const failure = await restore(over(), async (channel, to, { look, inode }) => {
            const bytes = bytesOf(channel);
            if (channel !== slow) return sendWhole(to, bytes);
            for (let at = 0; at < bytes.length; at += 2 * leastBytes) {
              await to.write(bytes.subarray(at, at + 2 * leastBytes));
              await untilRead(to, inode);
              look();
            }
            await to.end();
          });
          expect(failure).to.equal(undefined);
        });
      }
    });
  }

  for (const name of ['zstd', 'the stand-in for zstd']) {
    it(`and fails when nothing but frames without content come (${name})`, async () => {
      const frame = skippableFrame(leastBytes);
      const failure = await restore((compressors[name] as () => Partial<ImageInit>)(), async (channel, to, tools) =>
        channel === 'memory' ? sendPieces(to, () => frame, tools) : undefined,
      );
      expect(failure).to.match(stalled);
    });
  }
});
