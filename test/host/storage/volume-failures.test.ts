/** What is left of volumes that are made, copied or resized where that fails, is given up, or is cut off. */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { nullLog } from '../../../src/base/log.js';
import { type LocalStorage, openLocalStorage } from '../../../src/host/storage/storage.js';
import { fillUp } from '../../support/full-disk.js';
import { type HeldCopies, holdCopies, otherCp } from '../../support/held-cp.js';
import { testLimits } from '../../support/limits.js';
import { isAlive } from '../../support/processes.js';
import { failureOf } from '../../support/refusal.js';
import { a, b, c, fileOf, mib, sr } from './volumes.js';

describe('volumes of a host', () => {
  let dir: string;
  let root: string;
  let local: LocalStorage;
  let cleanUps: (() => void)[];
  beforeEach(async () => {
    cleanUps = [];
    dir = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-volumes-'));
    root = path.join(dir, 'sr');
    fs.mkdirSync(root);
  });
  afterEach(async () => {
    await local.close();
    for (const cleanUp of cleanUps.reverse()) cleanUp();
    fs.rmSync(dir, { recursive: true, force: true });
  });
  const open = async (): Promise<void> => {
    local = openLocalStorage(root, 'host', testLimits, nullLog);
    await local.storage.createSr(sr);
  };
  const file = (volume: string): string => fileOf(root, volume);
  const files = (): string[] => fs.readdirSync(path.join(root, sr)).sort();
  /** Volume a, with so much data that is not zero. */
  const makeA = async (bytes = 4 * mib): Promise<Buffer> => {
    await local.storage.createVolume(sr, a, bytes);
    const content = Buffer.alloc(bytes, 'data');
    fs.writeFileSync(file(a), content);
    return content;
  };
  const hold = (): HeldCopies => {
    const held = holdCopies();
    cleanUps.push(held.close);
    return held;
  };
  const mountDisk = (bytes: number): void => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=700`, 'xenferry-test', root]);
    cleanUps.push(() => execFileSync('umount', ['-l', root]));
  };
  /** Run with a limit of how long files can be, for this process and what it starts. */
  const limited = async (bytes: number, work: () => Promise<void>): Promise<void> => {
    const limit = (to: string) => execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${to}:unlimited`]);
    limit(String(bytes));
    try {
      await work();
    } finally {
      limit('unlimited');
    }
  };

  it('are not there where they could not be made or copied, and have their size and data where they could not be resized', async () => {
    await open();
    const content = await makeA();
    await limited(2 * mib, async () => {
      const { createVolume, copyVolume, resizeVolume } = local.storage;
      for (const call of [
        () => createVolume(sr, b, 3 * mib),
        () => copyVolume(sr, a, sr, b),
        () => resizeVolume(sr, a, 8 * mib),
      ]) {
        expect((await failureOf(call)).slice(0, 3)).to.deep.equal(['SR_BACKEND_FAILURE', 'EFBIG', '']);
        expect(files()).to.deep.equal([`${a}.raw`]);
      }
    });
    expect(fs.readFileSync(file(a)).equals(content)).to.equal(true);
    expect((await local.storage.resizeVolume(sr, a, 8 * mib)).virtualSize).to.equal(8 * mib);
  });

  it('are cut back to the size that they had when a resize is taken back', async () => {
    await open();
    const content = await makeA();
    await local.storage.resizeVolume(sr, a, 8 * mib);
    await local.storage.undoResize(sr, a, 4 * mib);
    expect(fs.readFileSync(file(a)).equals(content)).to.equal(true);
  });

  it('are changed in no way where their SR is gone', async () => {
    await open();
    fs.rmSync(path.join(root, sr), { recursive: true });
    const { createVolume, copyVolume, resizeVolume, destroyVolume } = local.storage;
    for (const call of [
      () => createVolume(sr, a, mib),
      () => copyVolume(sr, a, sr, b),
      () => resizeVolume(sr, a, mib),
      () => destroyVolume(sr, a),
    ]) {
      expect((await failureOf(call)).slice(0, 2)).to.deep.equal(['SR_BACKEND_FAILURE', 'ENOENT']);
    }
    expect(fs.readdirSync(root)).to.deep.equal([]);
  });

  it('show how far a copy is, and leave nothing of one that is given up', async () => {
    await open();
    const held = hold();
    await makeA();
    const copying = failureOf(() => local.storage.copyVolume(sr, a, sr, b));
    await held.held();
    expect(files()).to.deep.equal([`${a}.raw`, `${b}.raw.partial`]);
    expect(await local.storage.copyProgress(sr, b)).to.be.within(0.2, 0.5);
    expect(await failureOf(() => local.storage.copyVolume(sr, a, sr, b))).to.have.property('1', 'EEXIST');
    expect((await local.storage.listVolumes(sr)).map(({ uuid }) => uuid)).to.deep.equal([a]);
    await local.storage.destroyVolume(sr, b);
    expect(files()).to.deep.equal([`${a}.raw`]);
    expect((await copying).slice(0, 2)).to.deep.equal(['SR_BACKEND_FAILURE', 'ECANCELED']);
    expect(await local.storage.copyProgress(sr, b)).to.equal(undefined);
    expect(held.pids().map(isAlive)).to.deep.equal([false]);
  });

  it('leave nothing of a copy that the end of the daemon cuts off', async () => {
    await open();
    const held = hold();
    await makeA();
    const copying = failureOf(() => local.storage.copyVolume(sr, a, sr, b));
    await held.held();
    await local.close();
    expect((await copying)[0]).to.equal('HOST_OFFLINE');
    expect(files()).to.deep.equal([`${a}.raw`]);
    expect((await failureOf(() => local.storage.createVolume(sr, b, mib)))[0]).to.equal('HOST_OFFLINE');
    expect(files()).to.deep.equal([`${a}.raw`]);
  });

  it('that a killed daemon has not finished go at the next start, and nothing else does', async () => {
    await open();
    await makeA();
    const kept = [`${a}.raw`, 'backup.raw.partial', `${b}.partial`, `${c}.raw.partial`].sort();
    for (const name of ['backup.raw.partial', `${b}.partial`, `${b}.raw.partial`]) {
      fs.writeFileSync(path.join(root, sr, name), 'x');
    }
    fs.mkdirSync(path.join(root, sr, `${c}.raw.partial`));
    fs.mkdirSync(path.join(root, 'no-sr'));
    fs.writeFileSync(path.join(root, 'no-sr', `${b}.raw.partial`), 'x');
    await local.recover();
    expect(files()).to.deep.equal(kept);
    expect(fs.readdirSync(path.join(root, 'no-sr'))).to.have.length(1);
  });

  for (const [what, prepare] of [
    ['with GNU cp', () => undefined],
    ['without it', () => void cleanUps.push(otherCp().close)],
  ] as const) {
    it(`keep their data, their holes and their size in a copy ${what}`, async () => {
      prepare();
      await open();
      await local.storage.createVolume(sr, a, 64 * mib + 512);
      const written = fs.openSync(file(a), 'r+');
      const pieces: [at: number, text: string][] = [
        [0, 'first'],
        [33 * mib + 7, 'middle'],
        [64 * mib + 508, 'last'],
      ];
      for (const [at, text] of pieces) fs.writeSync(written, text, at);
      fs.writeSync(written, Buffer.alloc(mib), 0, mib, 8 * mib);
      fs.closeSync(written);
      const { virtualSize, physicalUtilisation } = await local.storage.copyVolume(sr, a, sr, b);
      expect(virtualSize).to.equal(64 * mib + 512);
      expect(physicalUtilisation).to.be.within(1, mib / 2);
      expect(fs.readFileSync(file(b)).equals(fs.readFileSync(file(a)))).to.equal(true);
      expect(fs.statSync(file(b)).mode & 0o777).to.equal(0o600);
    });
  }

  it('of 8 TiB that are nearly all holes are copied by their data alone', async function () {
    this.timeout(20_000);
    await open();
    await local.storage.createVolume(sr, a, 8 * 2 ** 40);
    const written = fs.openSync(file(a), 'r+');
    const places = [0, 2 ** 40 + 4096, 8 * 2 ** 40 - 4096];
    for (const at of places) fs.writeSync(written, Buffer.alloc(4096, 'x'), 0, 4096, at);
    fs.closeSync(written);
    const { virtualSize, physicalUtilisation } = await local.storage.copyVolume(sr, a, sr, b);
    expect(virtualSize).to.equal(8 * 2 ** 40);
    expect(physicalUtilisation).to.be.within(3 * 4096, mib);
    const read = fs.openSync(file(b), 'r');
    for (const at of places) {
      const found = Buffer.alloc(4096);
      fs.readSync(read, found, 0, 4096, at);
      expect(found.equals(Buffer.alloc(4096, 'x'))).to.equal(true);
    }
    fs.closeSync(read);
  });

  describe('on a file system of their own', () => {
    before(function () {
      const at = fs.mkdtempSync('/tmp/xenferry-mount-');
      const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4096', 'xenferry-test', at]).status === 0;
      if (mounted) execFileSync('umount', [at]);
      fs.rmdirSync(at);
      if (!mounted) this.skip();
    });

    it('leave nothing of a copy whose disk becomes full under it', async () => {
      mountDisk(16 * mib);
      await open();
      const held = hold();
      const content = await makeA();
      const copying = failureOf(() => local.storage.copyVolume(sr, a, sr, b));
      await held.held();
      fillUp(path.join(root, 'filler'));
      held.release();
      expect((await copying).slice(0, 3)).to.deep.equal(['SR_BACKEND_FAILURE', 'ENOSPC', '']);
      expect(files()).to.deep.equal([`${a}.raw`]);
      expect(fs.readFileSync(file(a)).equals(content)).to.equal(true);
    });

    it('are not copied where there is no room for their data, nor for that of the copies under way', async () => {
      mountDisk(14 * mib);
      await open();
      const held = hold();
      await makeA(5 * mib);
      const first = local.storage.copyVolume(sr, a, sr, b);
      await held.held();
      const refused = await failureOf(() => local.storage.copyVolume(sr, a, sr, c));
      expect(refused.slice(0, 2)).to.deep.equal(['SR_FULL', String(5 * mib)]);
      // 14 MiB, less the original and what the first copy has and will have.
      expect(Number(refused[2])).to.be.within(3.5 * mib, 4 * mib);
      held.release();
      await first;
      expect(files()).to.deep.equal([`${a}.raw`, `${b}.raw`]);
    });

    it('are changed in no way where it is read-only', async () => {
      mountDisk(16 * mib);
      await open();
      const content = await makeA();
      fs.writeFileSync(`${file(c)}.partial`, 'not finished');
      execFileSync('mount', ['-o', 'remount,ro', root]);
      const { createVolume, copyVolume, resizeVolume, destroyVolume } = local.storage;
      for (const call of [
        () => createVolume(sr, b, mib),
        () => copyVolume(sr, a, sr, b),
        () => resizeVolume(sr, a, 8 * mib),
        () => destroyVolume(sr, a),
      ]) {
        expect((await failureOf(call)).slice(0, 2)).to.deep.equal(['SR_BACKEND_FAILURE', 'EROFS']);
      }
      await local.recover();
      expect(files()).to.deep.equal([`${a}.raw`, `${c}.raw.partial`]);
      expect(fs.readFileSync(file(a)).equals(content)).to.equal(true);
      expect((await local.storage.statVolume(sr, a))?.virtualSize).to.equal(4 * mib);
    });
  });
});
