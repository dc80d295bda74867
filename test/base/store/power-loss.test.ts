import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { makeDirectory, replaceFile } from '../../../src/base/store/durable-file.js';
import { backupDatabase } from '../../../src/base/store/format.js';
import { openStore, type Store } from '../../../src/base/store/store.js';
import { afterReboot, type SlowDisk, watchFlushes } from '../../support/slow-disk.js';

describe('the store, when the power is lost', () => {
  let directory: string;
  let disk: SlowDisk;
  let store: Store;
  beforeEach(async () => {
    directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-power-'));
    disk = await watchFlushes();
    store = openStore(path.join(directory, 'host', 'a', 'db'));
  });
  afterEach(async () => {
    await store.close();
    disk.close();
    fs.rmSync(directory, { recursive: true, force: true });
  });
  /** The rows that are left. */
  const left = async (loss = disk.lose(path.join(directory, 'host'))): Promise<[string, unknown][]> => {
    const at = fs.mkdtempSync(path.join(directory, 'left-'));
    loss.restore(at);
    const opened = openStore(path.join(at, 'a', 'db'));
    const rows = [...opened.table<unknown>('t').entries()];
    await opened.close();
    return rows;
  };

  it('has what was written before it was flushed, and a part of nothing', async () => {
    const table = store.table<number>('t');
    await table.put('first', 1);
    await store.flushed();
    const goOn = disk.hold();
    await table.put('second', 2);
    await store.putMany([table.change('first', 3), table.change('third', 3)]);
    const before = disk.lose(path.join(directory, 'host'));
    goOn();
    await store.flushed();
    const after = disk.lose(path.join(directory, 'host'));
    expect(await left(before)).to.deep.equal([['first', 1]]);
    expect(await left(after)).to.deep.equal([
      ['first', 3],
      ['second', 2],
      ['third', 3],
    ]);
  });

  it('keeps what a killed daemon had not flushed, from the next start on', async () => {
    const data = (at: string) => path.join(at, 'a', 'db', 'data.mdb');
    const host = path.join(directory, 'host');
    await store.table('t').put('first', 1);
    await store.flushed();
    const flushed = fs.readFileSync(data(host));
    await store.table('t').put('second', 2);
    // The kernel has what the daemon wrote before it was killed; where LMDB keeps what was flushed is as it was.
    const killed = path.join(directory, 'killed');
    fs.cpSync(host, killed, { recursive: true });
    const image = fs.readFileSync(data(host));
    flushed.copy(image, 2048, 2048, 4096);
    fs.writeFileSync(data(killed), image);
    const opened = openStore(path.join(killed, 'a', 'db'));
    const goOn = disk.hold();
    const at = path.join(directory, 'left');
    disk.lose(killed).restore(at, 'all');
    goOn();
    await opened.close();
    const left = openStore(path.join(at, 'a', 'db'));
    expect([...left.table('t').entries()]).to.deep.equal([
      ['first', 1],
      ['second', 2],
    ]);
    await left.close();
  });

  it('goes back to what was flushed where a part of what was written later has reached the disk', async () => {
    const table = store.table<string>('t');
    const flushed = Array.from({ length: 50 }, (_, index): [string, string] => [
      `flushed ${100 + index}`,
      'x'.repeat(300),
    ]);
    await store.putMany(flushed.map(([id, row]) => table.change(id, row)));
    await store.flushed();
    const loss = disk.lose(path.join(directory, 'host'));
    for (let later = 0; later < 7; later++) await table.put(`later ${later}`, 'y'.repeat(3000));
    const at = path.join(directory, 'left');
    loss.restore(at);
    const file = path.join(at, 'a', 'db', 'data.mdb');
    const [image, written] = [
      fs.readFileSync(file),
      fs.readFileSync(path.join(directory, 'host', 'a', 'db', 'data.mdb')),
    ];
    // The beginnings of the newest two commits, in LMDB's first two pages; where it keeps what was flushed is the second half of one.
    afterReboot(written).copy(image, 0, 0, 2048);
    afterReboot(written).copy(image, 4096, 4096, 8192);
    fs.writeFileSync(file, image);
    for (let start = 0; start < 2; start++) {
      const opened = openStore(path.join(at, 'a', 'db'));
      const rows = opened.table<string>('t');
      expect([...rows.entries()]).to.deep.equal(start === 0 ? flushed : [...flushed, ['later', 'again']]);
      await rows.put('later', 'again');
      await opened.close();
    }
  });

  it('is in a backup from when that is said to be made', async () => {
    await store.table<number>('t').put('row', 1);
    await store.close();
    const host = path.join(directory, 'host');
    await backupDatabase(path.join(host, 'a', 'db'), path.join(host, 'backups', 'db'));
    const at = path.join(directory, 'left');
    disk.lose(path.join(host, 'backups')).restore(at);
    store = openStore(path.join(at, 'db'));
    expect([...store.table<number>('t').entries()]).to.deep.equal([['row', 1]]);
  });
});

describe('a file that is replaced while the power is lost', () => {
  for (const names of ['flushed', 'all'] as const) {
    it(`is the old one or the new one, whole, and the new one afterwards, with ${names} names left`, async () => {
      const directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-power-'));
      const disk = await watchFlushes();
      try {
        const at = path.join(directory, 'host');
        const file = path.join(at, 'made', 'file');
        fs.mkdirSync(at);
        const left = (): string | undefined => {
          const to = fs.mkdtempSync(path.join(directory, 'left-'));
          disk.lose(at).restore(to, names);
          const found = path.join(to, 'made', 'file');
          return fs.existsSync(found) ? fs.readFileSync(found, 'utf8') : undefined;
        };
        await makeDirectory(path.dirname(file));
        for (const [old, text] of [
          [undefined, 'the first'],
          ['the first', 'the second'],
        ] as const) {
          let isReplaced = false;
          const replaced = replaceFile(file, text).then(() => {
            isReplaced = true;
          });
          while (!isReplaced) {
            expect(left()).to.be.oneOf([old, text]);
            await new Promise(setImmediate);
          }
          await replaced;
          expect(left()).to.equal(text);
        }
      } finally {
        disk.close();
        fs.rmSync(directory, { recursive: true, force: true });
      }
    });
  }
});
