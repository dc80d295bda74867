import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { expect } from 'chai';
import type { XapiError } from '../../src/base/errors.js';
import { restoreImage, saveImage } from '../../src/xenops/image.js';
import { bytesWithin, type Direction, looks, type WatchInit, watchProgress } from '../../src/xenops/progress-watch.js';
import { kill } from '../hypervisor/hypervisor-process.js';
import { testLimits } from '../support/limits.js';
import { openManualTimer } from '../support/manual-timer.js';
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
  /** Looks when it is told to, six times within the limit of a minute unless another is given. */
  const watch = (child: Program, directions: readonly Direction[], init: Partial<WatchInit> = {}) => {
    const timer = openManualTimer();
    let said: string | undefined;
    const onStall = (error: XapiError): void => {
      said = error.message;
    };
    const pids = () => [child.pid as number];
    const of = { pids, directions, queues: new Map(), limitMs: 60_000, every: timer.every, onStall };
    const { without, end } = watchProgress({ ...of, ...init });
    timer.look();
    return { ...timer, without, end, said: () => said };
  };
  type Watch = ReturnType<typeof watch>;
  /** Feed the program, and look when it has read most of each piece: the pipe has no room for so much. */
  const feed = async (child: Program, { look }: Watch): Promise<void> => {
    for (let piece = 0; piece < 2 * looks; piece += 1) {
      await new Promise((resolve) => child.stdin.write(Buffer.alloc(512 << 10, 'line\n'), resolve));
      look();
    }
  };
  /** Look until it has stalled. @returns what is said of it */
  const stallOf = async ({ look, said }: Watch): Promise<string> => {
    for (;;) {
      const message = said();
      if (message !== undefined) return message;
      look();
      await setImmediate();
    }
  };
  const stalled = /^INTERNAL_ERROR the copy stalled on the memory channel: less than 16 KiB\/s for \d+ s$/;

  for (const [what, command, directions] of [
    ['reads', 'exec cat > /dev/null', ['read']],
    ['writes', 'exec cat', ['written']],
    ['does either', 'exec cat > /dev/null', ['read', 'written']],
    ['has a child that reads', 'cat > /dev/null; exit 0', ['read']],
  ] as [string, string, Direction[]][]) {
    it(`lets a process go on that ${what}, and finds out when it does not any more`, async () => {
      const child = await start(command);
      child.stdout.resume();
      const watched = watch(child, directions);
      await feed(child, watched);
      expect(watched.said()).to.equal(undefined);
      expect(await stallOf(watched)).to.match(stalled);
    });
  }

  it('does not count what moves the other way', async () => {
    const child = await start('exec yes');
    const watched = watch(child, ['read']);
    for (let time = 0; time < 2 * looks; time += 1) {
      await once(child.stdout, 'data');
      watched.look();
    }
    expect(watched.said()).to.match(stalled);
  });

  it('does not count that a process wakes its own threads', async () => {
    const wake = `setInterval(() => require('fs').stat('/', () => {}), 5)`;
    const child = await start(`exec '${process.execPath}' -e "${wake}"`);
    expect(await stallOf(watch(child, ['read', 'written']))).to.match(stalled);
  });

  it('does not count what is written as long as the peer takes nothing', async () => {
    const child = await start('exec cat');
    child.stdout.resume();
    let bytes = 100_000;
    const queues = new Map([['memory channel', () => bytes]]);
    const watched = watch(child, ['written'], { queues });
    const look = (): void => {
      bytes += 1 << 20;
      watched.look();
    };
    await feed(child, { ...watched, look });
    expect(watched.said()).to.match(stalled);
  });

  it('counts that the queue is as long as before although much was written', async () => {
    const child = await start('exec cat');
    child.stdout.resume();
    const watched = watch(child, ['written'], { queues: new Map([['memory channel', () => 100_000]]) });
    await feed(child, watched);
    expect(watched.said()).to.equal(undefined);
  });

  it('names the channel whose peer takes nothing', async () => {
    const queues = new Map([
      ['memory channel', () => 0],
      ['channel of vGPU 1', () => 5],
    ]);
    const said = await stallOf(watch(await start('exec sleep 60'), ['written'], { queues }));
    expect(said).to.contain('the copy stalled on the channel of vGPU 1');
  });

  const enough = bytesWithin(60_000) / looks;
  const never = undefined;
  const pauses = { pausesMs: 120_000 };
  /**
   * @param limits how many times the allowance the memory is
   * @param from the look at which another copy begins to wait for its place
   * @param to the look at which none does any more
   */
  const awaited = (limits = 1e9, from = 1, to = Number.POSITIVE_INFINITY): Partial<WatchInit> => {
    let count = 0;
    return {
      place: {
        memoryBytes: limits * bytesWithin(60_000),
        isAwaited: () => {
          count += 1;
          return count >= from && count < to;
        },
      },
    };
  };
  const paces: [
    moves: string,
    bytes: (look: number) => number,
    stallsAfter: number | undefined,
    Partial<WatchInit>?,
  ][] = [
    ['nothing', () => 0, looks],
    ['a byte at a time', () => 1, looks + 1],
    ['half of the least rate', () => enough / 2, 2 * looks],
    ['a little less than the least rate', () => 0.99 * enough, 100 * looks],
    ['the least rate', () => enough, never],
    [
      'twice the least rate in pieces, each just in time',
      (look) => (look % looks === 0 ? 2 * looks * enough : 0),
      never,
    ],
    ['much, and then nothing', (look) => (look > 100 ? 0 : 1000 * enough), 100 + looks],
    ['nothing, with pauses of two limits', () => 0, 3 * looks, { pausesMs: 120_000 }],
    ['half of the least rate, with pauses of two limits', () => enough / 2, 6 * looks, { pausesMs: 120_000 }],
    ['nothing twice, with pauses of two limits', (look) => (look === 13 ? 9e9 : 0), 13 + 12, { pausesMs: 120_000 }],
    ['16 KiB/s, where the limit is a second', () => (16 << 10) / looks, 2 * looks, { limitMs: 1_000 }],
    ['the least rate, while its place is awaited', () => enough, 7, awaited()],
    ['half of the least rate, while its place is awaited', () => enough / 2, 7, awaited()],
    ['half of 128 KiB/s, while its place is awaited', () => 4 * enough, 2 * looks, awaited()],
    ['128 KiB/s, while its place is awaited', () => 8 * enough, never, awaited()],
    ['128 KiB/s, and has taken long enough for its memory', () => 8 * enough, 10 * looks + looks + 1, awaited(10)],
    ['the same with pauses of two limits', () => 8 * enough, 10 * looks + 3 * looks + 1, { ...awaited(10), ...pauses }],
    ['the least rate, while its place is awaited from the 101st look on', () => enough, 107, awaited(1e9, 101)],
    ['the least rate, while its place is awaited for five looks', () => enough, never, awaited(1e9, 101, 106)],
    ['nothing, with pauses of two limits, while its place is awaited', () => 0, 3 * looks, { ...awaited(), ...pauses }],
    [
      'less than the least rate, with pauses of two limits, while its place is awaited',
      () => 0.9 * enough,
      12 + 7,
      { ...awaited(), ...pauses },
    ],
    [
      'nothing while the guest suspends, and much then, while its place is awaited',
      (look) => (look <= 12 ? 0 : 100 * enough),
      never,
      { ...awaited(), ...pauses },
    ],
    ['32 KiB/s, where the limit is a second', () => (32 << 10) / looks, never, { limitMs: 1_000 }],
  ];
  for (const [moves, bytesOf, stallsAfter, init] of paces) {
    const when = stallsAfter === undefined ? 'goes on for ever' : `is over after ${stallsAfter} looks`;
    it(`of a peer that takes ${moves} ${when}`, async () => {
      let waiting = 1e12;
      const queues = new Map([['memory channel', () => waiting]]);
      const { look, said } = watch(await start('exec sleep 60'), ['written'], { queues, ...init });
      let count = 0;
      while (said() === undefined && count < 1_000) {
        count += 1;
        waiting -= bytesOf(count);
        look();
      }
      expect(said() === undefined ? undefined : count).to.equal(stallsAfter);
    });
  }

  it('says that another waits where that is why a copy is over', async () => {
    const child = await start('exec sleep 60');
    const said = await stallOf(watch(child, ['written'], { place: { isAwaited: () => true, memoryBytes: 1 << 30 } }));
    expect(said).to.match(/: less than 128 KiB\/s for 60 s, while another waits for its place$/);
  });

  it('finds out when the process is gone', async () => {
    expect(await stallOf(watch(await start('exit 0'), ['read']))).to.match(stalled);
  });

  it('does not count what may take its time, and begins anew after it', async () => {
    const { without, look, said } = watch(await start('exec sleep 60'), ['read']);
    const lookOften = (times: number): void => {
      for (let time = 0; time < times; time += 1) look();
    };
    lookOften(looks - 1);
    await without(async () => lookOften(2 * looks));
    lookOften(looks - 1);
    expect(said()).to.equal(undefined);
    look();
    expect(said()).to.match(stalled);
  });

  it('ends', async () => {
    const child = await start('exec sleep 60');
    const { end, look, said } = watch(child, ['read']);
    end();
    for (let time = 0; time < 2 * looks; time += 1) look();
    expect(said()).to.equal(undefined);
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
      // A helper that is slow to start reads its own program meanwhile, which is progress.
      expect(await failure).to.match(/the copy stalled on the memory channel: less than 32 KiB\/s for/);
    });

    it(`is not saved when nobody takes it (${name}), and the domain is as it was`, async () => {
      const profile = { zero: 0, program: 0, text: 0, random: 1 };
      const handle = await images.lab.createDomain({ memoryBytes: 32 << 20, profile });
      await images.lab.simulator.build(handle);
      const { raw } = await images.connections.connected();
      const failure = messageOfFailure(saveImage(images.saveInit(handle, raw, { ...zstd(), limits })));
      expect(await failure).to.match(/the copy stalled on the memory channel: less than 32 KiB\/s for/);
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
