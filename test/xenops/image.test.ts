import { expect } from 'chai';
import type { StreamCompression } from '../../src/backend/save-helper.js';
import { defined } from '../../src/base/defined.js';
import type { DomainHandle } from '../../src/base/domain.js';
import type { ZstdCommand } from '../../src/wire/connection/zstd-pipe.js';
import { decodeHeader, decodeXenops, headerBytes, signatureBytes } from '../../src/wire/stream/suspend-image.js';
import { restoreImage, saveImage } from '../../src/xenops/image.js';
import { checkLibxcStream } from '../support/libxc-checker.js';
import { type ImageLab, openImageLab } from './image-lab.js';

describe('a suspend image', function () {
  this.timeout(60_000);
  let images: ImageLab;
  before(async () => {
    images = await openImageLab();
  });
  afterEach(() => images.nothingLeft());
  after(() => images.close());

  const sameMemory = async (a: DomainHandle, b: DomainHandle) =>
    (await images.lab.memoryOf(a)).equals(await images.lab.memoryOf(b));

  type Codec = (images: ImageLab) => ZstdCommand;
  const real: Codec = ({ codecs }) => codecs.real;
  const standIn: Codec = ({ codecs }) => codecs.standIn;
  const ways: [way: string, out: Codec | undefined, back: Codec | undefined, inside?: StreamCompression][] = [
    ['plain', undefined, undefined],
    ['compressed in the stream', undefined, undefined, {}],
    ['through zstd', real, real],
    ['through zstd and its stand-in', real, standIn],
    ['through the stand-in and zstd', standIn, real],
  ];
  for (const [way, out, back, compression] of ways) {
    for (const vgpus of [[], ['0', '11']]) {
      it(`brings a running domain over, ${way}, with ${vgpus.length} vGPUs`, async () => {
        const { lab, connections, saveInit, restoreInit } = images;
        const from = await images.boot(vgpus);
        await lab.simulator.unpause(from, 'go');
        const to = await lab.createDomain({ vgpus, memoryBytes: 1024 * 4096 });
        const [memory, ...channels] = await Promise.all(['memory', ...vgpus].map(connections.rawPair));
        const side = (end: 0 | 1) => ({
          memory: memory![end],
          vgpu: new Map(vgpus.map((device, index) => [device, channels[index]![end]])),
        });
        const percents: number[] = [];
        const save = saveImage(
          saveInit(from, memory![0], {
            ...{ ...defined({ compression }), channels: side(0), onProgress: (percent) => percents.push(percent) },
            ...(out === undefined ? {} : { zstd: out(images) }),
          }),
        );
        const restore = restoreImage(
          restoreInit(to, memory![1], {
            channels: side(1),
            ...(back === undefined ? {} : { zstd: back(images) }),
          }),
        );
        const [saved] = await Promise.all([save, restore]);
        expect(await lab.info(from)).to.include({ state: 'paused' });
        expect(await lab.info(to)).to.include({ state: 'paused', everRan: false });
        expect(await sameMemory(from, to)).to.equal(true);
        expect(saved.emuFlags.slice(saved.emuFlags.indexOf('-live'))).to.deep.equal([
          '-live',
          'true',
          ...(compression === undefined ? [] : ['-compress', 'true']),
        ]);
        expect(saved.guestBytes).to.be.at.least(4 << 20);
        expect(saved.rounds).to.be.at.least(1);
        const compressed = out !== undefined || compression !== undefined;
        expect(saved.wireBytes).to.be.within(100_000, compressed ? (4 << 20) - 1 : 64 << 20);
        expect(percents).to.deep.equal(percents.toSorted((a, b) => a - b));
        await lab.simulator.unpause(to, 'go on');
        expect((await lab.simulator.verify(to)).badPages).to.equal(0);
        await lab.simulator.destroy(from);
        await lab.simulator.destroy(to);
        for (const end of [...memory!, ...channels.flat()]) end.destroy();
      });
    }
  }

  it('has the headers of xapi around a memory stream that an independent checker accepts', async () => {
    const handle = await images.boot();
    const { memory, result } = await images.save(handle, [], { live: false });
    expect(memory.toString('latin1', 0, signatureBytes)).to.equal('XenSavedDomv2-\n');
    let at = signatureBytes;
    const take = (bytes: number) => {
      at += bytes;
      return memory.subarray(at - bytes, at);
    };
    const xenops = decodeHeader(take(headerBytes));
    expect(xenops.type).to.equal('xenops');
    expect(decodeXenops(take(xenops.length))).to.include({ wordSize: 64, vmStr: '{"name":"guest"}' });
    expect(decodeHeader(take(headerBytes))).to.deep.equal({ type: 'libxc', length: 0 });
    const { pages } = checkLibxcStream(take(memory.length - headerBytes - at));
    expect(pages.size).to.be.within(1, 1024);
    expect(decodeHeader(take(headerBytes))).to.deep.equal({ type: 'end', length: 0 });
    expect(result).to.include({ wireBytes: memory.length, guestBytes: pages.size * 4096 });
  });

  it('has a vGPU on a channel of its own, between a vgpu header and an end, without a signature', async () => {
    const handle = await images.boot(['5']);
    const { vgpu, memory, result } = await images.save(handle, ['5'], { live: false });
    const bytes = vgpu.get('5') as Buffer;
    expect(decodeHeader(bytes.subarray(0, headerBytes)).type).to.equal('vgpu');
    expect(decodeHeader(bytes.subarray(bytes.length - headerBytes)).type).to.equal('end');
    expect(bytes.length).to.be.above(2 * headerBytes);
    expect(result).to.include({ wireBytes: memory.length, vgpuWireBytes: bytes.length });
  });

  it('has fewer bytes on the channels of vGPUs when it is compressed, in the stream or by zstd, and counts them', async () => {
    const ways: Parameters<typeof images.save>[2][] = [
      {},
      { compression: {} },
      { compression: { plainVgpus: true } },
      { zstd: images.codecs.real },
    ];
    const sizes: number[] = [];
    for (const way of ways) {
      const { vgpu, result } = await images.save(await images.boot(['0', '1']), ['0', '1'], { live: false, ...way });
      sizes.push([...vgpu.values()].reduce((sum, bytes) => sum + bytes.length, 0));
      expect(result.vgpuWireBytes).to.equal(sizes.at(-1));
    }
    const [plain, inStream, memoryAlone, piped] = sizes as [number, number, number, number];
    expect(memoryAlone).to.equal(plain);
    expect([inStream < 0.8 * plain, piped < 0.8 * plain]).to.deep.equal([true, true]);
  });

  for (const name of ['real', 'standIn'] as const) {
    it(`is one zstd stream from signature to end (${name}), whose bytes are counted`, async () => {
      const handle = await images.boot();
      const { memory, result } = await images.save(handle, [], { live: false, zstd: images.codecs[name] });
      expect(memory.readUInt32LE()).to.equal(0xfd2fb528);
      expect(result.wireBytes).to.equal(memory.length);
      const restored = await images.restore(memory, { zstd: images.codecs.real });
      expect(await sameMemory(handle, restored)).to.equal(true);
    });
  }

  it('is saved of a paused domain without asking for its suspension twice', async () => {
    const handle = await images.boot();
    let suspensions = 0;
    const onSuspend = async () => {
      suspensions += 1;
    };
    await images.save(handle, [], { live: false, onSuspend });
    expect(suspensions).to.be.at.most(1);
    expect(await images.lab.info(handle)).to.include({ state: 'paused' });
  });
});
