/** Peers at the other end of real connections, behind a receive buffer that stays small: what they do not take waits at the sender. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { DomainHandle } from '../../src/base/domain.js';
import { type RawSocket, socketInode } from '../../src/wire/connection/raw-socket.js';
import { openSendQueue } from '../../src/wire/connection/send-queue.js';
import { type SaveInit, saveImage } from '../../src/xenops/image.js';
import { bytesWithin, looks } from '../../src/xenops/progress-watch.js';
import { testLimits } from '../support/limits.js';
import { openManualTimer } from '../support/manual-timer.js';
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

const messageOf = (error: Error): string => error.message;

async function count(peer: RawSocket): Promise<number> {
  let bytes = 0;
  await peer.flow(async (piece) => {
    bytes += piece.length;
  });
  return bytes;
}

describe('an image is sent to a peer', function () {
  this.timeout(60_000);
  const limits = { ...testLimits, progressTimeoutMs: 60_000 };
  /** Between two looks. */
  const leastBytes = bytesWithin(limits.progressTimeoutMs) / looks;
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
    xenguest: () => ({ compression: {} }),
  };

  /** Save to peers that do with each channel what they are told, and look at the progress by `timer`. */
  const save = async <T>(over: Partial<SaveInit>, receive: (peer: RawSocket, channel: Channel) => Promise<T>) => {
    const { rawPair } = images.connections;
    const [[memory, memoryPeer], [vgpu, vgpuPeer]] = await Promise.all([rawPair(), rawPair()]);
    const received = Promise.all([receive(memoryPeer, 'memory'), receive(vgpuPeer, 'vGPU')]);
    const channels = { memory, vgpu: new Map([['0', vgpu]]) };
    const queues = {
      memory: openSendQueue(socketInode(memory.fd)),
      vGPU: openSendQueue(socketInode(vgpu.fd)),
    };
    const timer = openManualTimer();
    const init = images.saveInit(handle, memory, {
      channels,
      endTimeoutMs: 1_000,
      limits,
      every: timer.every,
      ...over,
    });
    const saved = saveImage(init).finally(() => {
      for (const channel of [memory, vgpu]) channel.destroy();
    });
    return { saved, received, queues, look: timer.look };
  };
  type Saving<T> = Awaited<ReturnType<typeof save<T>>>;
  /** Look for as long as something waits for the peer, which `meanwhile` takes a little of. */
  const stallOf = async <T>(
    { saved, queues, look }: Saving<T>,
    channel: Channel,
    meanwhile = async () => undefined,
  ) => {
    let over = false;
    const failure = saved
      .then(() => undefined, messageOf)
      .finally(() => {
        over = true;
      });
    while (!over) {
      await delay(10);
      if (queues[channel]() === 0) continue;
      await meanwhile();
      look();
    }
    return failure;
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
        const stalled = `the copy stalled on the ${channel === 'memory' ? 'memory channel' : 'channel of vGPU 0'}: `;
        /** The peer of the channel takes so much at first. */
        const saveTaking = async (bytes: number) => {
          const peers = new Map<Channel, RawSocket>();
          const saving = await save(over(), (peer, each) => {
            peers.set(each, peer);
            return each === channel ? take(peer, bytes) : count(peer);
          });
          return { saving, peer: peers.get(channel) as RawSocket };
        };

        for (const [where, at] of stops) {
          it(`and fails in time when that takes nothing more of the ${channel} channel ${where}`, async () => {
            const { saving, peer } = await saveTaking(at(sizes[channel]));
            const failure = await stallOf(saving, channel);
            // A system that is slow itself may give the receiver a larger buffer after all, which then has the rest.
            if (where === atTheEnd && failure === undefined) {
              const [memory, vGPU] = await saving.received;
              expect((channel === 'memory' ? memory : vGPU) + (await count(peer))).to.equal(sizes[channel]);
              return;
            }
            expect(failure).to.contain(stalled);
            expect(await images.lab.info(handle)).to.include({ state: 'paused', everRan: false });
          });
        }

        it(`and fails in time when that takes too little of the ${channel} channel`, async () => {
          const { saving, peer } = await saveTaking(1024);
          const failure = await stallOf(saving, channel, async () => void (await take(peer, leastBytes / 8)));
          expect(failure).to.contain(stalled);
        });

        it(`and goes on for as long as that takes twice the least of the ${channel} channel`, async () => {
          let look: () => void = () => undefined;
          const takeSlowly = async (peer: RawSocket): Promise<void> => {
            while ((await take(peer, 2 * leastBytes)) >= 2 * leastBytes) look();
          };
          const saving = await save(over(), async (peer, each) => {
            await (each === channel ? takeSlowly(peer) : count(peer));
          });
          look = saving.look;
          await saving.saved;
          await saving.received;
        });
      }
    });
  }
});
