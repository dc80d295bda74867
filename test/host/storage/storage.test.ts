import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { nullLog } from '../../../src/base/log.js';
import { type HostStorage, openLocalStorage } from '../../../src/host/storage/storage.js';
import { testLimits } from '../../support/limits.js';
import { failureOf } from '../../support/refusal.js';
import { a, b, fileOf, mib, otherSr, sr } from './volumes.js';

describe('host storage', () => {
  let dir: string;
  let root: string;
  let storage: HostStorage;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'xenferry-storage-'));
    root = join(dir, 'sr');
    storage = openLocalStorage(root, 'host', testLimits, nullLog).storage;
    await storage.createSr(sr);
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const file = (volume: string, of = sr): string => fileOf(root, volume, of);

  it('makes SRs, lists them, and removes them when they are empty', async () => {
    await storage.createSr(sr);
    await storage.createSr(otherSr);
    expect(await storage.listSrs()).to.have.members([sr, otherSr]);
    await storage.createVolume(sr, a, mib);
    expect(await failureOf(() => storage.destroySr(sr))).to.deep.equal(['SR_NOT_EMPTY']);
    await storage.destroyVolume(sr, a);
    await storage.destroySr(sr);
    await storage.destroySr(sr);
    expect(await storage.listSrs()).to.deep.equal([otherSr]);
    expect(await openLocalStorage(join(dir, 'none'), 'host', testLimits, nullLog).storage.listSrs()).to.deep.equal([]);
  });

  it('says what the file system has', async () => {
    const { physicalSize, physicalUtilisation } = await storage.statSr(sr);
    expect(physicalSize).to.be.greaterThan(0);
    expect(physicalUtilisation).to.be.within(0, physicalSize);
    expect((await failureOf(() => storage.statSr(otherSr)))[1]).to.equal('ENOENT');
  });

  it('makes volumes sparse, grows them and removes them', async () => {
    const made = await storage.createVolume(sr, a, 1024 * mib);
    expect(made).to.deep.equal({ uuid: a, virtualSize: 1024 * mib, physicalUtilisation: 0 });
    expect(statSync(file(a)).mode & 0o777).to.equal(0o600);
    expect((await storage.resizeVolume(sr, a, 2048 * mib)).virtualSize).to.equal(2048 * mib);
    expect((await storage.statVolume(sr, a))?.virtualSize).to.equal(2048 * mib);
    expect(await storage.statVolume(sr, b)).to.equal(undefined);
    await storage.destroyVolume(sr, a);
    await storage.destroyVolume(sr, a);
    expect(await storage.listVolumes(sr)).to.deep.equal([]);
  });

  it('copies content, holes and sizes, within an SR and to another', async () => {
    await storage.createSr(otherSr);
    await storage.createVolume(sr, a, 9 * mib + 512);
    const content = readFileSync(file(a));
    content.fill('x', 5 * mib, 5 * mib + 100);
    content.fill('y', 9 * mib, 9 * mib + 512);
    writeFileSync(file(a), content);
    for (const to of [sr, otherSr]) {
      const copy = await storage.copyVolume(sr, a, to, b);
      expect(copy.virtualSize).to.equal(9 * mib + 512);
      expect(readFileSync(file(b, to)).equals(content)).to.equal(true);
    }
    await storage.createVolume(sr, sr, 256 * mib);
    expect((await storage.copyVolume(sr, sr, sr, otherSr)).physicalUtilisation).to.equal(0);
    expect(await failureOf(() => storage.copyVolume(sr, a, sr, b))).to.have.property('1', 'EEXIST');
    expect(await failureOf(() => storage.copyVolume(sr, otherSr.replace('2', '3'), sr, a))).to.have.property('1');
    expect(readdirSync(join(root, sr)).filter((name) => name.endsWith('.partial'))).to.deep.equal([]);
  });

  it('lists volumes, not what else lies there, and removes copies that were cut off', async () => {
    await storage.createVolume(sr, a, mib);
    writeFileSync(join(root, sr, 'notes.txt'), 'mine');
    writeFileSync(join(root, sr, 'short.raw'), 'mine');
    writeFileSync(`${file(b)}.partial`, 'cut off');
    expect((await storage.listVolumes(sr)).map(({ uuid }) => uuid)).to.deep.equal([a]);
    expect(readdirSync(join(root, sr))).to.have.members([`${a}.raw`, 'notes.txt', 'short.raw']);
  });

  const badNames = [
    '',
    '..',
    '../other',
    '/etc',
    `${sr}/..`,
    `${sr}\0`,
    sr.toUpperCase().replace('1', 'A'),
    'x'.repeat(36),
  ];
  for (const name of badNames) {
    it(`refuses the name ${JSON.stringify(name)} of an SR or a volume`, async () => {
      for (const call of ['createSr', 'statSr', 'destroySr', 'listVolumes'] as const) {
        expect(await failureOf(() => storage[call](name))).to.deep.equal(['UUID_INVALID', 'SR', name]);
      }
      expect(await failureOf(() => storage.createVolume(sr, name, mib))).to.deep.equal(['UUID_INVALID', 'VDI', name]);
      expect(await failureOf(() => storage.destroyVolume(sr, name))).to.deep.equal(['UUID_INVALID', 'VDI', name]);
      expect(await failureOf(() => storage.copyVolume(sr, a, name, b))).to.deep.equal(['UUID_INVALID', 'SR', name]);
    });
  }

  const badSizes: [number, string, string][] = [
    [-1, 'VDI_TOO_SMALL', '0'],
    [1.5, 'VDI_TOO_SMALL', '0'],
    [Number.NaN, 'VDI_TOO_SMALL', '0'],
    [2 ** 44 + 1, 'VDI_TOO_LARGE', String(2 ** 44)],
  ];
  for (const [size, code, limit] of badSizes) {
    it(`refuses a size of ${size}`, async () => {
      expect(await failureOf(() => storage.createVolume(sr, a, size))).to.deep.equal([code, a, limit]);
      expect(readdirSync(join(root, sr))).to.deep.equal([]);
    });
  }

  it('makes no volume smaller, and none over another', async () => {
    await storage.createVolume(sr, a, mib);
    expect(await failureOf(() => storage.resizeVolume(sr, a, mib - 1))).to.deep.equal([
      'VDI_TOO_SMALL',
      a,
      String(mib),
    ]);
    expect((await failureOf(() => storage.createVolume(sr, a, mib)))[1]).to.equal('EEXIST');
    expect((await failureOf(() => storage.resizeVolume(sr, b, mib)))[1]).to.equal('ENOENT');
  });

  it('follows no link, neither for an SR nor for a volume', async () => {
    const outside = join(dir, 'outside');
    writeFileSync(outside, 'precious');
    symlinkSync(outside, file(a));
    symlinkSync(dir, join(root, otherSr));
    expect((await failureOf(() => storage.resizeVolume(sr, a, mib)))[0]).to.equal('SR_BACKEND_FAILURE');
    expect((await failureOf(() => storage.copyVolume(sr, a, sr, b)))[0]).to.equal('SR_BACKEND_FAILURE');
    expect((await failureOf(() => storage.createVolume(otherSr, a, mib)))[1]).to.equal('ENOTDIR');
    expect((await failureOf(() => storage.destroySr(otherSr)))[1]).to.equal('ENOTDIR');
    await storage.destroyVolume(sr, a);
    expect(readFileSync(outside, 'utf8')).to.equal('precious');
  });
});
