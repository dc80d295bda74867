import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { XapiError } from '../../src/base/errors.js';
import { restoreImage, saveImage } from '../../src/xenops/image.js';
import { type Direction, watchProgress } from '../../src/xenops/progress-watch.js';
import type { SendQueues } from '../../src/xenops/send-queues.js';
import { kill } from '../hypervisor/hypervisor-process.js';
import { testLimits } from '../support/limits.js';
import { messageOfFailure } from '../wire/connection/connections.js';
import { type ImageLab, openImageLab } from './image-lab.js';

type Program = ChildProcessByStdio<Writable, Readable, null>;

describe('the watch over the progress of a copy', function () {
  this.timeout(30_000);
  const programs: Program[] = [];
  const start = async (command: string): Promise<Program> => {
    const child = spawn('/bin/sh', ['-c', `echo ready; ${command}`], { stdio: ['pipe', 'pipe', 'ignore'] });
    programs.push(child);
    await once(child.stdout, 'data');
    return child;
  };
  afterEach(async () => {
    for (const child of programs.splice(0)) {
      child.stdin.destroy();
      await kill(child);
    }
  });
  /** Resolves with the stall. */
  const watch = (child: Program, directions: readonly Direction[], queues: SendQueues = new Map()) => {
    let stall: XapiError | undefined;
    let onStall: (error: XapiError) => void = () => undefined;
    const stalled = new Promise<XapiError>((resolve) => {
      onStall = (error) => {
        stall = error;
        resolve(error);
      };
    });
    const pids = () => [child.pid as number];
    return { ...watchProgress({ pids, directions, queues, limitMs: 600, onStall }), stalled, stall: () => stall };
  };
  /** Give the program a line every now and then, for longer than it may stand still. */
  const feed = async (child: Program): Promise<void> => {
    for (let line = 0; line < 12; line += 1) {
      child.stdin.write('a line that is longer than a wake-up\n');
      await delay(80);
    }
  };

  for (const [what, command, directions] of [
    ['reads', 'exec cat > /dev/null', ['read']],
    ['writes', 'exec cat', ['written']],
    ['does either', 'exec cat > /dev/null', ['read', 'written']],
    ['has a child that reads', 'cat > /dev/null; exit 0', ['read']],
  ] as [string, string, Direction[]][]) {
    it(`lets a process go on that ${what}, and finds out when it does not any more`, async () => {
      const child = await start(command);
      const { stalled, stall } = watch(child, directions);
      await feed(child);
      expect(stall()).to.equal(undefined);
      expect((await stalled).message).to.contain('no byte moved on the memory channel for 0.6 s');
    });
  }

  it('does not count what moves the other way', async () => {
    const child = await start('exec cat > /dev/null');
    const { stalled } = watch(child, ['written']);
    const [, { message }] = await Promise.all([feed(child), stalled]);
    expect(message).to.contain('no byte moved');
  });

  it('does not count that a process wakes its own threads', async () => {
    const wake = `setInterval(() => require('fs').stat('/', () => {}), 5)`;
    const child = await start(`exec '${process.execPath}' -e "${wake}"`);
    expect((await watch(child, ['read', 'written']).stalled).message).to.contain('no byte moved');
  });

  it('does not count what is written as long as the peer takes nothing', async () => {
    const child = await start('while :; do echo a line of a log; sleep 0.02; done');
    child.stdout.resume();
    const { stalled } = watch(child, ['written'], new Map([['memory channel', () => 100_000]]));
    expect((await stalled).message).to.contain('no byte moved on the memory channel');
  });

  it('counts that the peer takes something where nothing is written any more, and names who takes nothing', async () => {
    const child = await start('exec sleep 60');
    let bytes = 100_000;
    const queues = new Map([
      ['memory channel', () => 0],
      ['channel of vGPU 1', () => bytes],
    ]);
    const { stalled, stall } = watch(child, ['written'], queues);
    for (; bytes > 50_000; bytes -= 1_000) await delay(20);
    expect(stall()).to.equal(undefined);
    expect((await stalled).message).to.contain('no byte moved on the channel of vGPU 1 for 0.6 s');
  });

  it('counts that the queue is as long as before although much was written', async () => {
    const child = await start(`while :; do head -c 100000 /dev/zero; sleep 0.05; done`);
    child.stdout.resume();
    const { stall } = watch(child, ['written'], new Map([['memory channel', () => 100_000]]));
    await delay(1_200);
    expect(stall()).to.equal(undefined);
  });

  it('finds out when the process is gone', async () => {
    const child = await start('exit 0');
    expect((await watch(child, ['read']).stalled).message).to.contain('no byte moved');
  });

  it('does not count what may take its time, and begins anew after it', async () => {
    const child = await start('exec sleep 60');
    const { without, stalled, stall } = watch(child, ['read']);
    await without(() => delay(1_000));
    expect(stall()).to.equal(undefined);
    await stalled;
  });

  it('ends', async () => {
    const child = await start('exec sleep 60');
    const { end, stall } = watch(child, ['read']);
    end();
    await delay(900);
    expect(stall()).to.equal(undefined);
  });
});

describe('a suspend image that stands still', function () {
  this.timeout(60_000);
  let images: ImageLab;
  before(async () => {
    images = await openImageLab();
  });
  after(async () => {
    await images.nothingLeft();
    await images.close();
  });
  const limits = { ...testLimits, progressTimeoutMs: 1_000, suspendTimeoutMs: 500 };

  for (const name of ['none', 'real', 'standIn'] as const) {
    const zstd = () => (name === 'none' ? {} : { zstd: images.codecs[name] });

    it(`is not restored when nothing comes for longer than the guest may suspend (${name})`, async () => {
      const { raw } = await images.connections.adopted();
      const handle = await images.lab.createDomain();
      const failure = messageOfFailure(restoreImage(images.restoreInit(handle, raw, { ...zstd(), limits })));
      expect(await failure).to.contain('no byte moved on the memory channel for 1.5 s');
    });

    it(`is not saved when nobody takes it (${name}), and the domain is as it was`, async () => {
      const profile = { zero: 0, program: 0, text: 0, random: 1 };
      const handle = await images.lab.createDomain({ memoryBytes: 32 << 20, profile });
      await images.lab.simulator.build(handle);
      const { raw } = await images.connections.connected();
      const failure = messageOfFailure(saveImage(images.saveInit(handle, raw, { ...zstd(), limits })));
      expect(await failure).to.contain('no byte moved on the memory channel for 1 s');
      expect(await images.lab.info(handle)).to.include({ state: 'paused', everRan: false });
      await images.lab.simulator.destroy(handle);
    });
  }

  it('is saved when it is the guest that takes its time', async () => {
    const handle = await images.boot([], 64);
    const onSuspend = async () => {
      await delay(1_500);
      await images.lab.simulator.pause(handle);
    };
    await images.save(handle, [], { limits, onSuspend });
  });
});
