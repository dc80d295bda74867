import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { ownIdentity } from '../../src/base/process/process-identity.js';
import { type MemoryStore, type MemoryStoreInit, openMemoryStore } from '../../src/hypervisor/memory.js';
import { makeDirectory, mebibyte } from './hypervisor-process.js';

describe('the store of memory files', () => {
  let root: string;
  const stores: MemoryStore[] = [];
  beforeEach(() => {
    root = makeDirectory();
    for (const name of ['small', 'large']) fs.mkdirSync(path.join(root, name));
  });
  afterEach(() => {
    for (const store of stores.splice(0)) store.close();
    fs.rmSync(root, { recursive: true });
  });

  /** `small` has 64 MiB free and `large` 1 GiB, save what is written there. */
  const open = (over: Partial<MemoryStoreInit> = {}): MemoryStore => {
    const store = openMemoryStore({
      directories: [path.join(root, 'small'), path.join(root, 'large')],
      total: 4096 * mebibyte,
      instance: `instance-${stores.length}`,
      stateKey: 'a',
      freeBytes: (directory) => (path.basename(directory) === 'small' ? 64 : 1024) * mebibyte,
      log: () => {},
      ...over,
    });
    stores.push(store);
    return store;
  };
  const onlySmall = (over: Partial<MemoryStoreInit> = {}): MemoryStore =>
    open({ directories: [path.join(root, 'small')], ...over });
  const files = (): string[] =>
    (fs.readdirSync(root, { recursive: true }) as string[]).filter((name) => name.endsWith('.memory'));

  it('promises memory as a sparse file in a directory that only its user can enter', () => {
    const file = open().allocate(mebibyte);
    const { size, blocks } = fs.statSync(file.path);
    expect({ size, blocks }).to.deep.equal({ size: mebibyte, blocks: 0 });
    expect(fs.statSync(path.dirname(file.path)).mode & 0o777).to.equal(0o700);
  });

  it('goes on to the next directory where the first is too small', () => {
    expect(path.relative(root, open().allocate(65 * mebibyte).path)).to.match(/^large/);
  });

  it('refuses what fits nowhere, says what is available, and leaves no file', () => {
    expect(() => open().allocate(1100 * mebibyte))
      .to.throw()
      .that.deep.includes({
        code: 'HOST_NOT_ENOUGH_FREE_MEMORY',
        params: [String(1100 * mebibyte), String(1024 * mebibyte)],
      });
    expect(files()).to.deep.equal([]);
  });

  it('refuses more than its total', () => {
    const store = open({ total: 10 * mebibyte });
    store.allocate(6 * mebibyte);
    expect(() => store.allocate(5 * mebibyte))
      .to.throw()
      .that.deep.includes({ params: [String(5 * mebibyte), String(4 * mebibyte)] });
  });

  it('does not promise twice what is promised and not written yet, by itself or by another hypervisor', () => {
    const [mine, other] = [onlySmall(), onlySmall()];
    const file = other.allocate(40 * mebibyte);
    expect(() => mine.allocate(30 * mebibyte))
      .to.throw()
      .that.deep.includes({ params: [String(30 * mebibyte), String(24 * mebibyte)] });
    other.free(file);
    mine.allocate(30 * mebibyte);
    expect(() => mine.allocate(40 * mebibyte)).to.throw(/NOT_ENOUGH/);
  });

  it('shows every hypervisor that it gives memory back, until the system has it', async () => {
    const [mine, other] = [onlySmall(), onlySmall()];
    const file = mine.allocate(mebibyte);
    fs.writeFileSync(file.path, Buffer.alloc(mebibyte, 1), { flag: 'r+' });
    const given = mine.giveBack(file);
    expect([mine.isGivingBack(), other.isGivingBack()]).to.deep.equal([true, true]);
    await given;
    expect([mine.isGivingBack(), other.isGivingBack()]).to.deep.equal([false, false]);
    expect(fs.readdirSync(path.dirname(file.path))).to.deep.equal(['owner.json']);
  });

  it('waits for no dead hypervisor to give memory back', () => {
    const store = onlySmall();
    const dead = path.join(root, 'small', 'xenferry-dead');
    fs.mkdirSync(dead);
    fs.writeFileSync(path.join(dead, '1.memory.freeing'), '');
    expect(store.isGivingBack()).to.equal(false);
    fs.writeFileSync(path.join(dead, 'owner.json'), JSON.stringify({ ...ownIdentity(), started: '1', stateKey: 'b' }));
    expect(store.isGivingBack()).to.equal(false);
  });

  it('counts what is written once, as no longer free', () => {
    const store = onlySmall({ freeBytes: () => 63 * mebibyte });
    const file = store.allocate(mebibyte);
    fs.writeFileSync(file.path, Buffer.alloc(mebibyte, 1), { flag: 'r+' });
    expect(() => store.allocate(63 * mebibyte)).not.to.throw();
  });

  it('removes what a dead hypervisor left, and leaves what a living one has', () => {
    const living = open();
    living.allocate(mebibyte);
    const dead = path.join(root, 'small', 'xenferry-dead');
    fs.mkdirSync(dead);
    const { namespace } = JSON.parse(
      fs.readFileSync(path.join(root, 'small', 'xenferry-instance-0', 'owner.json'), 'utf8'),
    );
    fs.writeFileSync(
      path.join(dead, 'owner.json'),
      JSON.stringify({ pid: process.pid, started: '1', namespace, stateKey: 'b' }),
    );
    fs.writeFileSync(path.join(dead, '1.memory'), 'x');
    open();
    expect(fs.existsSync(dead)).to.equal(false);
    expect(files()).to.have.length(1);
  });

  it('tells the dead of another pid namespace by the state directory alone', () => {
    for (const stateKey of ['a', 'b']) {
      const directory = path.join(root, 'small', `xenferry-of-${stateKey}`);
      fs.mkdirSync(directory);
      const owner = { pid: 1, started: '1', namespace: 'pid:[1]', stateKey };
      fs.writeFileSync(path.join(directory, 'owner.json'), JSON.stringify(owner));
    }
    open();
    expect(fs.readdirSync(path.join(root, 'small'))).to.have.members(['xenferry-of-b', 'xenferry-instance-0']);
  });

  it('does without a directory that is not there, and not without any', () => {
    const lines: string[] = [];
    const missing = path.join(root, 'missing');
    open({ directories: [missing, path.join(root, 'large')], log: (line) => lines.push(line) }).allocate(mebibyte);
    expect(lines.join()).to.contain(missing);
    expect(() => open({ directories: [missing] })).to.throw(missing);
  });
});
