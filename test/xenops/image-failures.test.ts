import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { XapiError } from '../../src/base/errors.js';
import { restoreImage, saveImage } from '../../src/xenops/image.js';
import { helperBy } from '../support/save-helper.js';
import { childProcesses, messageOfFailure } from '../wire/connection/connections.js';
import { type ImageLab, openImageLab, somethingCame } from './image-lab.js';

/** So many pages do not fit into the buffers of a connection. */
const many = 8192;

describe('saving or restoring a suspend image', function () {
  this.timeout(60_000);
  let images: ImageLab;
  before(async () => {
    images = await openImageLab();
  });
  afterEach(() => images.nothingLeft());
  after(() => images.close());

  const codecs = (): [string, object][] => [
    ['plain', {}],
    ['zstd', { zstd: images.codecs.real }],
    ['the stand-in', { zstd: images.codecs.standIn }],
  ];
  const random = { zero: 0, program: 0, text: 0, random: 1 };
  /** A running domain that compresses badly. */
  const busy = async (pages: number) => {
    const handle = await images.lab.createDomain({ memoryBytes: pages * 4096, profile: random });
    await images.lab.simulator.build(handle);
    await images.lab.simulator.unpause(handle, 'go');
    return handle;
  };
  const cancelled = () => new XapiError('TASK_CANCELLED', ['OpaqueRef:7']);

  for (const index of [0, 1, 2]) {
    const name = ['plain', 'zstd', 'stand-in'][index];
    const over = () => codecs()[index]?.[1] ?? {};

    it(`fails when the receiver goes away in the middle (${name}), and the domain runs on`, async () => {
      const handle = await busy(many);
      const { raw, peer } = await images.connections.connected();
      const saved = messageOfFailure(saveImage(images.saveInit(handle, raw, over())));
      await somethingCame(peer);
      peer.destroy();
      expect(await saved).to.match(/INTERNAL_ERROR/);
      expect(await images.lab.info(handle)).to.include({ state: 'running' });
      await images.lab.simulator.destroy(handle);
    });

    it(`ends with the reason when it is cancelled while the receiver stalls (${name})`, async () => {
      const handle = await busy(many);
      const { raw, peer } = await images.connections.connected();
      const stop = new AbortController();
      const saved = messageOfFailure(saveImage(images.saveInit(handle, raw, { ...over(), signal: stop.signal })));
      await somethingCame(peer);
      stop.abort(cancelled());
      expect(await saved).to.equal('TASK_CANCELLED OpaqueRef:7');
      expect(await images.lab.info(handle)).to.include({ state: 'running' });
      await images.lab.simulator.destroy(handle);
    });

    it(`ends with the reason when it is cancelled before it begins (${name})`, async () => {
      const handle = await images.boot([], 16);
      const signal = AbortSignal.abort(cancelled());
      const { raw, peer } = await images.connections.connected();
      expect(await messageOfFailure(saveImage(images.saveInit(handle, raw, { ...over(), signal })))).to.match(
        /^TASK_CANCELLED/,
      );
      peer.destroy();
      const other = await images.connections.connected();
      const to = await images.lab.createDomain();
      const restored = restoreImage(images.restoreInit(to, other.raw, { ...over(), signal }));
      expect(await messageOfFailure(restored)).to.match(/^TASK_CANCELLED/);
    });

    it(`ends with the reason when it is cancelled while the sender says nothing (${name})`, async () => {
      const { raw } = await images.connections.adopted();
      const handle = await images.lab.createDomain();
      const stop = new AbortController();
      const restored = messageOfFailure(
        restoreImage(images.restoreInit(handle, raw, { ...over(), signal: stop.signal })),
      );
      await new Promise((resolve) => setImmediate(resolve));
      stop.abort(cancelled());
      expect(await restored).to.equal('TASK_CANCELLED OpaqueRef:7');
      expect(await images.lab.simulator.destroyUnlessRan(handle)).to.equal(true);
    });
  }

  it('ends with the reason when it is cancelled in the middle of the memory', async () => {
    const from = await images.boot([], 256);
    const { memory } = await images.save(from, [], { live: false });
    const { raw, peer } = await images.connections.adopted();
    const handle = await images.lab.createDomain({ memoryBytes: 256 * 4096 });
    const stop = new AbortController();
    const before = childProcesses().size;
    peer.write(memory.subarray(0, memory.length >> 1));
    const restored = messageOfFailure(restoreImage(images.restoreInit(handle, raw, { signal: stop.signal })));
    while (childProcesses().size === before) await delay(5);
    stop.abort(cancelled());
    expect(await restored).to.equal('TASK_CANCELLED OpaqueRef:7');
    expect(await images.lab.simulator.destroyUnlessRan(handle)).to.equal(true);
  });

  it('does not wait longer than was said for a compressor whose receiver stalls at the end', async () => {
    const handle = await images.lab.createDomain({ memoryBytes: 512 * 4096, profile: random });
    await images.lab.simulator.build(handle);
    const [near] = await images.connections.socketPair();
    const init = images.saveInit(handle, near, { live: false, zstd: images.codecs.real, endTimeoutMs: 100 });
    expect(await messageOfFailure(saveImage(init))).to.contain('no end of the codec within 0.1 s');
  });

  it('fails with what the suspension fails with', async () => {
    const handle = await busy(64);
    const { raw, peer } = await images.connections.connected();
    peer.resume();
    const onSuspend = () => Promise.reject(new XapiError('VM_BAD_POWER_STATE', ['a', 'b', 'c']));
    const saved = saveImage(images.saveInit(handle, raw, { onSuspend, zstd: images.codecs.real }));
    expect(await messageOfFailure(saved)).to.equal('VM_BAD_POWER_STATE a b c');
    await images.lab.simulator.destroy(handle);
  });

  const broken: [what: string, command: [string, ...string[]], said: RegExp][] = [
    ['cannot be started', ['/nowhere/zstd'], /\/nowhere\/zstd: .*ENOENT/s],
    ['fails at once', ['/bin/sh', '-c', 'echo no memory >&2; exit 7'], /exit status 7: no memory/],
    [
      'fails in the middle',
      ['/bin/sh', '-c', 'head -c 1000 >/dev/null; echo no disk >&2; exit 8'],
      /exit status 8: no disk/,
    ],
    ['is killed', ['/bin/sh', '-c', 'head -c 20 >/dev/null; kill -9 $$'], /SIGKILL/],
  ];
  for (const [what, command, said] of broken) {
    it(`fails with what the codec says when that ${what}`, async () => {
      const zstd = { compress: command, decompress: command, standIn: false };
      const handle = await busy(many);
      const { raw, peer } = await images.connections.connected();
      peer.resume();
      expect(await messageOfFailure(saveImage(images.saveInit(handle, raw, { zstd })))).to.match(said);
      expect(await images.lab.info(handle)).to.include({ state: 'running' });
      await images.lab.simulator.destroy(handle);

      const to = await images.lab.createDomain();
      const other = await images.connections.adopted();
      other.peer.write(Buffer.alloc(100_000));
      expect(await messageOfFailure(restoreImage(images.restoreInit(to, other.raw, { zstd })))).to.match(said);
    });
  }

  it('fails with what emu-manager says', async () => {
    const handle = await images.boot([], 16);
    const { raw, peer } = await images.connections.connected();
    peer.resume();
    const gone = { ...handle, domid: handle.domid + 1000 };
    expect(await messageOfFailure(saveImage(images.saveInit(gone, raw)))).to.match(/emu-manager: /);
    const other = await images.connections.connected();
    other.peer.resume();
    const init = images.saveInit(handle, other.raw, {
      helper: helperBy(['/nowhere/emu-manager']),
      zstd: images.codecs.real,
    });
    expect(await messageOfFailure(saveImage(init))).to.match(/emu-manager cannot be started/);
  });

  it('fails on a channel that is closed already', async () => {
    const handle = await images.boot([], 16);
    for (const [, over] of codecs()) {
      const { raw } = await images.connections.connected();
      raw.destroy();
      await raw.closed;
      expect(await messageOfFailure(saveImage(images.saveInit(handle, raw, over)))).to.match(/closed/);
      const to = await images.lab.createDomain();
      expect(await messageOfFailure(restoreImage(images.restoreInit(to, raw, over)))).to.match(/closed/);
    }
  });
});
