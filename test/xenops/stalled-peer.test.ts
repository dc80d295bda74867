/** Peers at the other end of real connections, behind a receive buffer that stays small: what they do not take waits at the sender. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { DomainHandle } from '../../src/base/domain.js';
import type { RawSocket } from '../../src/wire/connection/raw-socket.js';
import { type SaveInit, saveImage } from '../../src/xenops/image.js';
import { testLimits } from '../support/limits.js';
import { messageOfFailure } from '../wire/connection/connections.js';
import { type ImageLab, openImageLab } from './image-lab.js';

type Channel = 'memory' | 'vGPU';

const atTheEnd = 'before the last bytes';

/** A receiver that takes this much at a time, and pauses, is given no larger buffer by its system. */
const pieceBytes = 16 << 10;

/** So near to the end that only buffers have the rest, and far enough from it that the peer's alone has not. */
const beforeLast = (bytes: number): number => bytes - Math.min(900_000, Math.round(0.4 * bytes));

/** Take so many bytes. @returns how many there were */
async function take(peer: RawSocket, bytes: number): Promise<number> {
  let taken = 0;
  try {
    while (taken < bytes) {
      taken += (await peer.read(Math.min(pieceBytes, bytes - taken))).length;
      await delay(1);
    }
  } catch {
    // The stream has ended.
  }
  return taken;
}

/** More than a system keeps back before it tells the sender that there is room again. */
const openingBytes = 128 << 10;

/** Take so many bytes, and then the others at a slow pace. @returns how many there were, but for a piece cut short */
async function takeSlowly(peer: RawSocket, bytes: number): Promise<number> {
  let taken = await take(peer, bytes);
  for (let until = bytes; taken >= until; ) {
    until = taken + openingBytes;
    await delay(300);
    while (taken < until) {
      const piece = await peer.read(pieceBytes).catch(() => undefined);
      if (piece === undefined) break;
      taken += piece.length;
    }
  }
  return taken;
}

async function count(peer: RawSocket): Promise<number> {
  let bytes = 0;
  await peer.flow(async (piece) => {
    bytes += piece.length;
  });
  return bytes;
}

describe('an image is sent to a peer', function () {
  this.timeout(60_000);
  const brief = { limits: { ...testLimits, progressTimeoutMs: 1_000 } };
  /** Less than a slow peer takes in all. */
  const longer = { limits: { ...testLimits, progressTimeoutMs: 2_000 } };
  let images: ImageLab;
  let handle: DomainHandle;
  before(async () => {
    images = await openImageLab();
    const profile = { zero: 0, program: 0, text: 0, random: 1 };
    handle = await images.lab.createDomain({ memoryBytes: 4 << 20, profile, vgpus: ['0'] });
    await images.lab.simulator.build(handle);
  });
  after(async () => {
    await images.nothingLeft();
    await images.close();
  });

  const compressors: Record<string, () => Partial<SaveInit>> = {
    none: () => ({}),
    zstd: () => ({ zstd: images.codecs.real }),
    'the stand-in for zstd': () => ({ zstd: images.codecs.standIn }),
    xenguest: () => ({ emuFlags: ['-compress', 'true'] }),
  };

  /** Save to peers that do with each channel what they are told. */
  const save = async <T>(over: Partial<SaveInit>, receive: (peer: RawSocket, channel: Channel) => Promise<T>) => {
    const { rawPair } = images.connections;
    const [[memory, memoryPeer], [vgpu, vgpuPeer]] = await Promise.all([rawPair(), rawPair()]);
    const received = Promise.all([receive(memoryPeer, 'memory'), receive(vgpuPeer, 'vGPU')]);
    const channels = { memory, vgpu: new Map([['0', vgpu]]) };
    const init = images.saveInit(handle, memory, { channels, endTimeoutMs: 1_000, ...over });
    const saved = saveImage(init).finally(() => {
      for (const channel of [memory, vgpu]) channel.destroy();
    });
    return { saved, received };
  };

  for (const [name, over] of Object.entries(compressors)) {
    describe(`(${name})`, () => {
      let sizes: Record<Channel, number>;
      before(async () => {
        const { saved, received } = await save(over(), count);
        await saved;
        const [memory, vGPU] = await received;
        sizes = { memory, vGPU };
      });

      const stops: [where: string, at: (bytes: number) => number][] = [
        ['after the first KiB', () => 1024],
        ['in the middle', (bytes) => bytes >> 1],
        [atTheEnd, beforeLast],
      ];
      for (const channel of ['memory', 'vGPU'] as const) {
        for (const [where, at] of stops) {
          it(`and fails in time when that takes nothing more of the ${channel} channel ${where}`, async () => {
            let stopped: RawSocket | undefined;
            const { saved, received } = await save({ ...over(), ...brief }, (peer, each) => {
              if (each !== channel) return count(peer);
              stopped = peer;
              return take(peer, at(sizes[channel]));
            });
            // A system that is slow itself may give the receiver a larger buffer after all, which then has the rest.
            if (where === atTheEnd && (await saved.then(() => true).catch(() => false))) {
              const [memory, vGPU] = await received;
              const rest = await count(stopped as RawSocket);
              expect((channel === 'memory' ? memory : vGPU) + rest).to.equal(sizes[channel]);
              return;
            }
            expect(await messageOfFailure(saved)).to.contain(
              `no byte moved on the ${channel === 'memory' ? 'memory channel' : 'channel of vGPU 0'} for 1 s`,
            );
            expect(await images.lab.info(handle)).to.include({ state: 'paused', everRan: false });
          });
        }

        it(`and goes on for as long as that takes a little of the ${channel} channel`, async () => {
          const { saved, received } = await save({ ...over(), ...longer }, (peer, each) =>
            each === channel ? takeSlowly(peer, beforeLast(sizes[channel])) : count(peer),
          );
          await saved;
          await received;
        });
      }
    });
  }
});
