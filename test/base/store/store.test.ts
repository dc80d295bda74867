import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import fc from 'fast-check';
import { open } from 'lmdb';
import { defined } from '../../../src/base/defined.js';
import { XapiError } from '../../../src/base/errors.js';
import { backupDatabase, type StoreFormat } from '../../../src/base/store/format.js';
import { openRow, sealRow } from '../../../src/base/store/row.js';
import { openStore, type Store } from '../../../src/base/store/store.js';
import { anyKeys, forbiddenKeys, mapOf } from '../../support/map-keys.js';

describe('the store', () => {
  let directory: string;
  let path: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'store-'));
    path = join(directory, 'a.directory', 'with.dots');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  async function withStore<T>(use: (store: Store) => T | Promise<T>): Promise<T> {
    const store = openStore(path);
    try {
      return await use(store);
    } finally {
      await store.close();
    }
  }

  async function fill(rows: number): Promise<void> {
    await withStore(async (store) => {
      const table = store.table<string>('filled');
      await store.putMany(
        Array.from({ length: rows }, (_value, index) => table.change(String(index), 'x'.repeat(500))),
      );
    });
  }

  function refusal(): XapiError {
    try {
      openStore(path);
    } catch (error) {
      expect(error).to.be.instanceOf(XapiError);
      return error as XapiError;
    }
    throw new Error('the store was opened');
  }

  it('can be read by its owner alone, as a copy of it can', async () => {
    const copy = join(directory, 'copy');
    mkdirSync(copy, { mode: 0o755 });
    await withStore((store) => store.copy(copy));
    const mode = (...names: string[]) => statSync(join(...names)).mode & 0o777;
    expect(mode(path)).to.equal(0o700);
    for (const file of [join(path, 'data.mdb'), join(path, 'lock.mdb'), join(copy, 'data.mdb')]) {
      expect(mode(file), file).to.equal(0o600);
    }
  });

  it('keeps maps with any keys and texts of any characters', async () => {
    const keys = [...anyKeys, ...forbiddenKeys];
    const map = mapOf(keys);
    const row = { map, deep: [{ map }] };
    await withStore((store) => store.table<unknown>('kept').put('a', row));
    const text = (value: unknown) => JSON.stringify(value);
    await withStore((store) => {
      const table = store.table<typeof row>('kept');
      expect(text(table.get('a'))).to.equal(text(row));
      expect(Object.keys(table.get('a')?.map ?? {})).to.have.members(keys);
    });
    const any = fc.dictionary(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), {
      maxKeys: 5,
      noNullPrototype: true,
    });
    fc.assert(
      fc.property(any, (drawn) => {
        expect(text(openRow(['table', 'id'], sealRow(['table', 'id'], drawn)))).to.equal(text(drawn));
      }),
      { numRuns: 20 },
    );
  });

  it('keeps rows from one opening to the next', async () => {
    const row = {
      text: 'ünï',
      list: [1, 2.5, null, true],
      nested: { date: new Date(5), bytes: new Uint8Array([1, 2]) },
    };
    await withStore(async (store) => {
      const table = store.table<unknown>('kept');
      await table.put('a', row);
      await table.put('b', 'gone');
      await table.remove('b');
      await table.remove('never there');
      await store.flushed();
    });
    await withStore((store) => {
      const table = store.table<typeof row>('kept');
      const read = table.get('a');
      expect(read).to.deep.include({ text: row.text, list: row.list });
      expect(read?.nested.date).to.deep.equal(row.nested.date);
      expect([...(read?.nested.bytes ?? [])]).to.deep.equal([1, 2]);
      expect(table.get('b')).to.equal(undefined);
      expect([...table.entries()].map(([id]) => id)).to.deep.equal(['a']);
    });
  });

  it('lists the rows of one table alone, ordered by id', async () => {
    const ids = fc.uniqueArray(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }), { maxLength: 20 });
    await withStore(async (store) => {
      const [table, other] = [store.table<number>('t'), store.table<number>('t2')];
      const property = fc.asyncProperty(ids, ids, async (mine, others) => {
        await store.putMany([...table.entries()].map(([id]) => table.change(id, undefined)));
        await store.putMany([...mine.map((id) => table.change(id, 1)), ...others.map((id) => other.change(id, 2))]);
        const sorted = mine.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        expect([...table.entries()]).to.deep.equal(sorted.map((id) => [id, 1]));
      });
      await fc.assert(property);
    });
  });

  for (const [what, row] of [
    ['a function', { run: () => 1 }],
    ['NaN', { deep: [Number.NaN] }],
    ['a bigint', 1n],
    ['a map', new Map()],
  ] as const) {
    it(`refuses ${what} in a row, and the whole of its batch`, async () => {
      await withStore(async (store) => {
        const table = store.table<unknown>('t');
        const error = await store
          .putMany([table.change('good', 1), table.change('bad', row)])
          .catch((thrown) => thrown);
        expect(error).to.be.instanceOf(XapiError);
        expect(error.message).to.contain('row "bad" of table t');
        expect([...table.entries()]).to.deep.equal([]);
      });
    });
  }

  it('refuses ids that cannot be keys', async () => {
    await withStore(async (store) => {
      for (const id of ['', 'x'.repeat(1001), 'a\0b', 'a\ud800']) {
        expect(
          await store
            .table('t')
            .put(id, 1)
            .catch((thrown) => thrown),
        ).to.be.instanceOf(XapiError);
      }
    });
  });

  it('loses no acknowledged write and splits no batch when the process is killed', async () => {
    const program = fileURLToPath(new URL('../../support/store-writer.js', import.meta.url));
    for (const enough of [1, 50, 400]) {
      const child = spawn(process.execPath, [program, path], { stdio: ['ignore', 'pipe', 'inherit'] });
      let output = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        if (output.split('\n').length > enough) child.kill('SIGKILL');
      });
      const [, signal] = await once(child, 'close');
      expect(signal).to.equal('SIGKILL');
      const acknowledged = output.split('\n').slice(0, -1).map(Number);
      expect(acknowledged.length).to.be.at.least(enough);
      await withStore((store) => {
        const [one, two] = [store.table<number>('one'), store.table<number>('two')];
        for (const number of acknowledged) expect(one.get(String(number)), `row ${number}`).to.equal(number);
        expect([...two.entries()]).to.deep.equal([...one.entries()]);
      });
    }
  });

  it('refuses a database of a newer version, and says what to do', async () => {
    const database = open({ path, noSubdir: false });
    await database.put(['', 'format'], 3);
    await database.put(['table', 'row'], { of: 'another kind' });
    await database.close();
    expect(refusal().message).to.contain('has format 3, and this version knows 1 to 2. Run the version that wrote it');
  });

  describe('of an older format', () => {
    /** From format 2 to 3 the names in a table get a prefix, from 3 to 4 the table gets another name. */
    const upgraded: StoreFormat = {
      number: 4,
      upgrades: {
        2(rows) {
          for (const [id, row] of rows.entries('old')) rows.put('old', id, { name: `the ${(row as Named).name}` });
        },
        3(rows) {
          for (const [id, row] of rows.entries('old')) {
            rows.put('new', id, row);
            rows.remove('old', id);
          }
        },
      },
    };
    interface Named {
      readonly name: string;
    }
    beforeEach(() =>
      withStore(async (store) => {
        await store.table<Named>('old').put('a', { name: 'first' });
        await store.table<Named>('other').put('a', { name: 'other' });
      }),
    );
    const rows = async (format: StoreFormat | undefined, at = path): Promise<unknown> => {
      const store = openStore(at, defined({ format }));
      try {
        return ['old', 'new', 'other'].map((table) => [...store.table(table).entries()]);
      } finally {
        await store.close();
      }
    };
    const before = [[['a', { name: 'first' }]], [], [['a', { name: 'other' }]]];
    const after = [[], [['a', { name: 'the first' }]], [['a', { name: 'other' }]]];

    it('is brought to the new one, step by step and once, with a copy kept', async () => {
      expect(await rows(upgraded)).to.deep.equal(after);
      expect(await rows(upgraded)).to.deep.equal(after);
      expect(refusal().message).to.contain('has format 4, and this version knows 1 to 2.');
      expect(await rows(undefined, `${path}.format-2`)).to.deep.equal(before);
    });

    it('stays as it was when the upgrade fails', async () => {
      const failing: StoreFormat = {
        number: 4,
        upgrades: {
          ...upgraded.upgrades,
          3() {
            throw new Error('a row that nobody thought of');
          },
        },
      };
      expect(() => openStore(path, { format: failing })).to.throw(
        'cannot be brought from format 2 to 4: a row that nobody thought of',
      );
      expect(await rows(undefined)).to.deep.equal(before);
    });

    it('is refused when no step begins at it', () => {
      const format = { number: 4, upgrades: { 3: () => undefined } };
      expect(() => openStore(path, { format })).to.throw(
        'has format 2, and this version knows 3 to 4. Run the version',
      );
    });

    it('has its rows sealed where they were not, and is as it was in a copy', async () => {
      const old = open<unknown, string[]>({ path: `${path}-1`, noSubdir: false });
      await old.put(['', 'format'], 1);
      const kept = { text: 'ünï', at: new Date(5), list: [1, 2.5, null, true], map: { constructor: 'a', '': 'b' } };
      await old.put(['old', 'a'], kept);
      await old.put(['other', 'b'], 'text');
      await old.close();
      for (let time = 0; time < 2; time++) {
        expect(await rows(undefined, `${path}-1`)).to.deep.equal([[['a', kept]], [], [['b', 'text']]]);
      }
      const copy = open<unknown, string[]>({ path: `${path}-1.format-1`, noSubdir: false });
      expect([copy.get(['', 'format']), copy.get(['old', 'a'])]).to.deep.equal([1, kept]);
      await copy.close();
    });
  });

  it('writes at its end what it was given just before, and refuses what comes later', async () => {
    const store = openStore(path);
    const table = store.table<number>('t');
    await table.put('row', 1);
    const written = table.put('row', 2);
    const closed = store.close();
    for (const late of [(): unknown => table.get('row'), () => table.entries(), () => table.put('row', 3)]) {
      const refused = await Promise.resolve().then(late).catch(String);
      expect(refused).to.contain(`The database ${path} is closed.`);
    }
    await Promise.all([written, closed]);
    // What the library still does of a read comes with the next timers.
    await new Promise((resolve) => setTimeout(resolve));
    const again = openStore(path);
    expect(again.table('t').get('row')).to.equal(2);
    await again.close();
  });

  it('is copied while another process writes to it', async () => {
    const program = fileURLToPath(new URL('../../support/store-writer.js', import.meta.url));
    const child = spawn(process.execPath, [program, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [first] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string];
      child.stdout.resume();
      await backupDatabase(path, join(directory, 'copies', 'one'));
      const store = openStore(join(directory, 'copies', 'one'));
      const [one, two] = [store.table<number>('one'), store.table<number>('two')];
      for (const number of first.trim().split('\n')) expect(one.get(number)).to.equal(Number(number));
      expect([...two.entries()]).to.deep.equal([...one.entries()]);
      await store.close();
    } finally {
      child.kill('SIGKILL');
      await once(child, 'close');
    }
  });

  it('is copied from where it is and to where nothing is, or not at all', async () => {
    const failure = (to: string) => backupDatabase(path, to).then(String, (error: XapiError) => error.message);
    expect(await failure(join(directory, 'copy'))).to.contain(`The database ${path} is not there.`);
    await fill(1);
    expect(await failure(directory)).to.contain(`The database cannot be copied to ${directory}: it is not empty`);
  });

  it('refuses the database of another program', async () => {
    const database = open({ path, noSubdir: false });
    await database.put('something', 'else');
    await database.close();
    expect(refusal().message).to.match(/is damaged|is no database of xenferry/);
  });

  for (const file of ['data.mdb', 'lock.mdb']) {
    it(`refuses a ${file} that is no file it could open, and does not call that damaged`, async () => {
      await fill(1);
      rmSync(join(path, file));
      mkdirSync(join(path, file));
      expect(refusal().message).to.contain(
        `The database ${path} cannot be opened: ${join(path, file)} is no plain file`,
      );
    });
  }

  it('refuses a path that is a file', () => {
    mkdirSync(join(directory, 'a.directory'));
    writeFileSync(path, 'a file');
    expect(refusal().message).to.contain(`The database ${path} cannot be opened`);
  });
});
