import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { openStore, type Store } from '../../src/base/store/store.js';
import { type DestinationRow, openJournal, type SourceRow } from '../../src/xenops/journal.js';

const writer = fileURLToPath(new URL('./journal-writer.js', import.meta.url));

const sourceRow: SourceRow = {
  ...{ side: 'source', migrationId: 'm1', task: 'OpaqueRef:1', uuid: 'u1', state: 'preparing' },
  ...{ handle: { instance: 'i', domid: 7 }, wasRunning: true, request: { compress: true, nothing: null } },
};
const destinationRow: DestinationRow = {
  ...{ side: 'destination', migrationId: 'm1', uuid: 'u1', temporaryUuid: 't1', state: 'reserved', token: 'secret' },
  ...{ request: { a: 1 }, reply: { urls: ['x'] } },
};

describe('the journal', () => {
  let directory: string;
  let store: Store;
  beforeEach(() => {
    directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-journal-'));
    store = openStore(directory);
  });
  afterEach(async () => {
    await store.close();
    fs.rmSync(directory, { recursive: true });
  });
  const reopen = async () => {
    await store.close();
    store = openStore(directory);
    return openJournal(store);
  };

  it('keeps a row for each side and migration', async () => {
    const journal = openJournal(store);
    const other = { ...sourceRow, migrationId: 'm2', state: 'going' };
    await journal.put(sourceRow);
    await journal.put(destinationRow);
    await journal.put(other, 'powerLoss');
    expect(journal.get('source', 'm1')).to.deep.equal(sourceRow);
    expect(journal.get('destination', 'm1')).to.deep.equal(destinationRow);
    expect(journal.get('source', 'm2')).to.deep.equal(other);
    expect(journal.get('destination', 'm2')).to.equal(undefined);
    expect(journal.rows()).to.have.deep.members([sourceRow, destinationRow, other]);
  });

  it('puts a later state in the place of an earlier one', async () => {
    const journal = openJournal(store);
    await journal.put(sourceRow);
    await journal.put({ ...sourceRow, state: 'copying' });
    expect(journal.rows()).to.deep.equal([{ ...sourceRow, state: 'copying' }]);
  });

  it('forgets what is old, of the rows that it is told of, and dates a row that has no time', async () => {
    const undated = { ...sourceRow, migrationId: 'undated' };
    await store.table('migration-journal').put('source/undated', undated);
    let time = 1000;
    const journal = openJournal(store, { wall: () => 5e12 - 7 * time, elapsed: () => time });
    const rows = ['m1', 'm2', 'm3'].map((migrationId) => ({ ...sourceRow, migrationId }));
    const [first, second, kept] = rows as [SourceRow, SourceRow, SourceRow];
    await journal.put(first);
    await journal.put(kept);
    time = 1500;
    await journal.put(second);
    time = 2000;
    await journal.removeOld([first, second, undated], 1000);
    expect(journal.rows()).to.have.deep.members([kept, second, undated]);
    time = 2999;
    await journal.removeOld([undated], 1000);
    expect(journal.get('source', 'undated')).to.deep.equal(undated);
    time = 3000;
    await journal.removeOld([undated, { ...sourceRow, migrationId: 'never there' }], 1000);
    expect(journal.get('source', 'undated')).to.equal(undefined);
    expect(openJournal(store).rows()).to.have.deep.members(journal.rows());
  });

  it('forgets a row, and is fine when there is none', async () => {
    const journal = openJournal(store);
    await journal.put(sourceRow);
    await journal.put(destinationRow);
    await journal.remove('source', 'm1');
    await journal.remove('source', 'm1');
    expect(journal.rows()).to.deep.equal([destinationRow]);
  });

  it('has its rows again when the store is opened again', async () => {
    await openJournal(store).put(sourceRow);
    expect((await reopen()).rows()).to.deep.equal([sourceRow]);
  });

  it('has every row that was acknowledged when its process is killed', async () => {
    await store.close();
    const child = spawn(process.execPath, [writer, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
    const exit = once(child, 'exit');
    let said = '';
    for await (const chunk of child.stdout) {
      said += chunk;
      if (said.split('\n').length > 200) break;
    }
    child.kill('SIGKILL');
    await exit;
    store = openStore(directory);
    const row = openJournal(store).get('source', 'm');
    expect(Number(row?.state)).to.be.at.least(Number(said.trim().split('\n').at(-1)));
  });
});
