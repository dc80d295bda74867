import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { ownIdentity } from '../../src/base/process/process-identity.js';
import { type MemoryStore, type MemoryStoreInit, openMemoryStore } from '../../src/hypervisor/memory.js';
import { makeDirectory, mebibyte } from './hypervisor-process.js';

/** Who may give files to another user. */
const isRoot = process.geteuid?.() === 0;
const nobody = 65534;
const home = `xenferry-${process.geteuid?.()}`;
const namespace = /\d+/.exec(ownIdentity().namespace)?.[0];
/** The name of the directory of a hypervisor that is dead, and of one that lives. */
const dead = `${process.pid}-1-${namespace}-dead`;
const living = `${process.pid}-${ownIdentity().started}-${namespace}-living`;

describe('the store of memory files', () => {
  let root: string;
  let lines: string[];
  const stores: MemoryStore[] = [];
  beforeEach(() => {
    root = makeDirectory();
    lines = [];
    for (const name of ['small', 'large', 'state']) fs.mkdirSync(path.join(root, name));
  });
  afterEach(() => {
    for (const store of stores.splice(0)) store.close();
    fs.rmSync(root, { recursive: true });
  });

  const small = (...names: string[]): string => path.join(root, 'small', ...names);
  /** `small` has 64 MiB free and `large` 1 GiB, save what is written there. */
  const open = (over: Partial<MemoryStoreInit> = {}): MemoryStore => {
    const store = openMemoryStore({
      directories: [small(), path.join(root, 'large')],
      total: 4096 * mebibyte,
      instance: `instance-${stores.length}`,
      stateDirectory: path.join(root, 'state'),
      freeBytes: (directory) => (path.basename(directory) === 'small' ? 64 : 1024) * mebibyte,
      log: (line) => lines.push(line),
      ...over,
    });
    stores.push(store);
    return store;
  };
  const onlySmall = (over: Partial<MemoryStoreInit> = {}): MemoryStore => open({ directories: [small()], ...over });
  /** One of another state directory. */
  const beside = (): MemoryStore => onlySmall({ stateDirectory: makeDirectoryIn(root) });
  const files = (): string[] =>
    (fs.readdirSync(root, { recursive: true }) as string[]).filter((name) => name.endsWith('.memory'));

  it('promises memory as a sparse file in a directory that only its user can enter', () => {
    const file = open().promise(mebibyte);
    const { size, blocks } = fs.statSync(file.path);
    expect({ size, blocks }).to.deep.equal({ size: mebibyte, blocks: 0 });
    const own = path.dirname(file.path);
    for (const directory of [own, path.dirname(own)]) expect(fs.statSync(directory).mode & 0o777).to.equal(0o700);
  });

  it('promises memory in a file, and directories, that are its user alone, whatever the umask', () => {
    const umask = process.umask(0);
    try {
      const file = open().promise(mebibyte);
      const own = path.dirname(file.path);
      const modes = [file.path, own, path.dirname(own)].map((each) => fs.statSync(each).mode & 0o777);
      expect(modes).to.deep.equal([0o600, 0o700, 0o700]);
    } finally {
      process.umask(umask);
    }
  });

  it('has all of what it promised, as zeros, when it is allocated', async () => {
    const store = open();
    const file = store.promise(3 * mebibyte + 4096);
    await store.allocate(file);
    const { size, blocks } = fs.statSync(file.path);
    expect(blocks * 512).to.be.at.least(size);
    expect(fs.readFileSync(file.path).equals(Buffer.alloc(file.bytes))).to.equal(true);
    expect(store.promised()).to.equal(file.bytes);
  });

  it('goes on to the next directory where the first is too small', () => {
    expect(path.relative(root, open().promise(65 * mebibyte).path)).to.match(/^large/);
  });

  it('refuses what fits nowhere, says what is available, and leaves no file', () => {
    expect(() => open().promise(1100 * mebibyte))
      .to.throw()
      .that.deep.includes({
        code: 'HOST_NOT_ENOUGH_FREE_MEMORY',
        params: [String(1100 * mebibyte), String(1024 * mebibyte)],
      });
    expect(files()).to.deep.equal([]);
  });

  it('refuses more than its total', () => {
    const store = open({ total: 10 * mebibyte });
    store.promise(6 * mebibyte);
    expect(() => store.promise(5 * mebibyte))
      .to.throw()
      .that.deep.includes({ params: [String(5 * mebibyte), String(4 * mebibyte)] });
  });

  it('does not promise twice what is promised and not written yet, by itself or by another hypervisor', () => {
    const [mine, other] = [onlySmall(), beside()];
    const file = other.promise(40 * mebibyte);
    expect(() => mine.promise(30 * mebibyte))
      .to.throw()
      .that.deep.includes({ params: [String(30 * mebibyte), String(24 * mebibyte)] });
    other.free(file);
    mine.promise(30 * mebibyte);
    expect(() => mine.promise(40 * mebibyte)).to.throw(/NOT_ENOUGH/);
  });

  it('shows every hypervisor that it gives memory back, until the system has it', async () => {
    const [mine, other] = [onlySmall(), beside()];
    const file = mine.promise(mebibyte);
    await mine.allocate(file);
    const given = mine.giveBack(file);
    expect([mine.isGivingBack(), other.isGivingBack()]).to.deep.equal([true, true]);
    await given;
    expect([mine.isGivingBack(), other.isGivingBack()]).to.deep.equal([false, false]);
    expect(fs.readdirSync(path.dirname(file.path))).to.deep.equal([]);
  });

  it('waits for no dead hypervisor to give memory back, and for nothing that says not whose it is', () => {
    const store = onlySmall();
    for (const name of [dead, 'nobody-knows']) {
      fs.mkdirSync(small(home, name));
      fs.writeFileSync(small(home, name, '1.memory.freeing'), '');
    }
    expect(store.isGivingBack()).to.equal(false);
  });

  it('counts what is written once, as no longer free', () => {
    const store = onlySmall({ freeBytes: () => 63 * mebibyte });
    const file = store.promise(mebibyte);
    fs.writeFileSync(file.path, Buffer.alloc(mebibyte, 1), { flag: 'r+' });
    expect(() => store.promise(63 * mebibyte)).not.to.throw();
  });

  it('removes what a dead hypervisor left, and leaves what a living one has', () => {
    for (const name of [living, dead]) {
      fs.mkdirSync(small(home, name), { recursive: true, mode: 0o700 });
      fs.writeFileSync(small(home, name, '1.memory'), 'x');
    }
    open();
    expect(files()).to.deep.equal([path.join('small', home, living, '1.memory')]);
  });

  it('tells the dead of another pid namespace by the state directory alone', () => {
    const [ofState, ofAnother] = [`1-1-1-of-state`, `1-1-1-of-another`].map((name) => small(home, name)) as [
      string,
      string,
    ];
    for (const directory of [ofState, ofAnother]) fs.mkdirSync(directory, { recursive: true });
    fs.writeFileSync(path.join(root, 'state', 'memory-directories.json'), JSON.stringify([ofState]));
    open();
    expect(fs.readdirSync(small(home)))
      .to.have.length(2)
      .and.to.include(path.basename(ofAnother));
  });

  it('removes nothing but directories of hypervisors, whatever is on the list of the state directory', () => {
    const kept = path.join(root, 'kept');
    fs.mkdirSync(kept);
    for (const list of [[kept, small(), small('..', 'large'), 7], 'text']) {
      fs.writeFileSync(path.join(root, 'state', 'memory-directories.json'), JSON.stringify(list));
      open();
      expect(fs.readdirSync(root)).to.include.members(['kept', 'small', 'large']);
    }
  });

  it('leaves nothing behind when it is closed', () => {
    const store = open();
    store.promise(mebibyte);
    store.close();
    expect(fs.readdirSync(root, { recursive: true })).to.have.members(['small', 'large', 'state']);
  });

  it('makes its directory anew where that is gone', () => {
    const store = onlySmall();
    fs.rmSync(small(home), { recursive: true });
    expect(fs.existsSync(store.promise(mebibyte).path)).to.equal(true);
  });

  it('does without a directory that is not there, and not without any', () => {
    const missing = path.join(root, 'missing');
    open({ directories: [missing, path.join(root, 'large')] }).promise(mebibyte);
    expect(lines.join()).to.contain(missing);
    expect(() => open({ directories: [missing] })).to.throw(missing);
  });

  it('does without a directory in which everybody may rename what is its own', () => {
    fs.chmodSync(small(), 0o777);
    expect(path.relative(root, open().promise(mebibyte).path)).to.match(/^large/);
    expect(lines.join()).to.contain(small()).and.to.contain('1777');
    fs.chmodSync(small(), 0o1777);
    expect(path.relative(root, open().promise(mebibyte).path)).to.match(/^small/);
  });

  describe('where another user has taken the name of its directory', () => {
    const plants: [what: string, asRoot: boolean, plant: (at: string) => void][] = [
      ['with a FIFO', false, (at) => void execFileSync('mkfifo', [at])],
      ['with a file', false, (at) => fs.writeFileSync(at, '')],
      ['with a link to a directory of this user', false, (at) => fs.symlinkSync(path.join(root, 'large'), at)],
      ['with a link to nothing', false, (at) => fs.symlinkSync('/nowhere', at)],
      [
        'with a directory that promises 8 TiB, and gives some of it back',
        true,
        (at) => {
          const own = path.join(at, living);
          fs.mkdirSync(own, { recursive: true });
          for (const name of ['1.memory', '2.memory.freeing']) {
            fs.writeFileSync(path.join(own, name), '');
            fs.truncateSync(path.join(own, name), 8 * 2 ** 40);
          }
          for (const each of [at, own]) fs.chownSync(each, nobody, nobody);
        },
      ],
    ];
    for (const [what, asRoot, plant] of plants) {
      (asRoot && !isRoot ? it.skip : it)(`${what}: takes another in the same place, and finds it again`, () => {
        plant(small(home));
        const store = open();
        const file = store.promise(60 * mebibyte);
        expect(path.relative(small(), file.path)).to.match(new RegExp(`^${home}-[0-9a-f]{16}/`));
        expect(fs.statSync(path.dirname(path.dirname(file.path))).mode & 0o777).to.equal(0o700);
        expect(store.isGivingBack()).to.equal(false);
        expect(lines.filter((line) => line.includes(small(home)))).to.have.length(1);
        // It is killed: the next one of the state directory knows what it made.
        stores.pop();
        const next = open({ instance: 'next' });
        expect(files().filter((name) => name === path.relative(root, file.path))).to.deep.equal([]);
        next.promise(60 * mebibyte);
        next.close();
        expect(fs.readdirSync(small())).to.deep.equal([home]);
        fs.rmSync(small(home), { recursive: true });
      });
    }

    it('counts and waits for nothing that is not a file of its own in its own directory', () => {
      const store = onlySmall();
      const own = path.dirname(store.promise(mebibyte).path);
      fs.symlinkSync(path.join(root, 'large'), path.join(own, 'link'));
      fs.symlinkSync(root, small(home, `${living}-link`));
      execFileSync('mkfifo', [path.join(own, '9.memory'), small(home, `${living}-fifo`)]);
      if (isRoot) {
        const foreign = path.join(own, '8.memory');
        fs.writeFileSync(foreign, '');
        fs.truncateSync(foreign, 8 * 2 ** 40);
        fs.chownSync(foreign, nobody, nobody);
      }
      expect(() => store.promise(60 * mebibyte)).not.to.throw();
    });
  });
});

function makeDirectoryIn(parent: string): string {
  return fs.mkdtempSync(path.join(parent, 'state-'));
}
