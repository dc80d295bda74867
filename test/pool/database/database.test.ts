import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { toXapiError } from '../../../src/base/errors.js';
import { nullLog } from '../../../src/base/log.js';
import { openStore, type Store } from '../../../src/base/store/store.js';
import { type Database, openDatabase } from '../../../src/pool/database/database.js';

const lost = 'OpaqueRef:lost' as Ref<never>;

describe('database', () => {
  let dir: string;
  let store: Store;
  let db: Database;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'xenferry-database-'));
    store = openStore(dir);
    db = await openDatabase(store, nullLog);
  });
  afterEach(async () => {
    await db.saved();
    await store.close();
    rmSync(dir, { recursive: true });
  });
  const reopen = async (): Promise<void> => {
    await db.saved();
    await store.close();
    store = openStore(dir);
    db = await openDatabase(store, nullLog);
  };
  const failure = (call: () => unknown): string[] => {
    try {
      call();
    } catch (error) {
      return [toXapiError(error).code, ...toXapiError(error).params];
    }
    return [];
  };

  it('fills a new row with defaults and a uuid', () => {
    const ref = db.create('network', { name_label: 'lan' });
    const row = db.get('network', ref);
    expect(row.MTU).to.equal(1500);
    expect(row.VIFs).to.deep.equal([]);
    expect(row.uuid).to.match(/^[0-9a-f-]{36}$/);
    expect(db.byUuid('network', row.uuid)).to.equal(ref);
    expect(db.byNameLabel('network', 'lan')).to.deep.equal([ref]);
  });

  it('follows a change of name', () => {
    const ref = db.create('network', { name_label: 'old' });
    db.update('network', ref, { name_label: 'new' });
    expect(db.byNameLabel('network', 'old')).to.deep.equal([]);
    expect(db.byNameLabel('network', 'new')).to.deep.equal([ref]);
  });

  it('names what is wrong', () => {
    const ref = db.create('network', { other_config: { a: '1' } });
    expect(failure(() => db.get('VM', lost))).to.deep.equal(['HANDLE_INVALID', 'VM', lost]);
    expect(failure(() => db.update('VM', lost, {}))).to.deep.equal(['HANDLE_INVALID', 'VM', lost]);
    expect(failure(() => db.destroy('VM', lost))).to.deep.equal(['HANDLE_INVALID', 'VM', lost]);
    expect(failure(() => db.byUuid('VM', 'x'))).to.deep.equal(['UUID_INVALID', 'VM', 'x']);
    const twice = failure(() => db.addToMap('network', ref, 'other_config', 'a', '2'));
    expect(twice).to.deep.equal(['MAP_DUPLICATE_KEY', 'network', 'other_config', ref, 'a']);
  });

  it('adds to and removes from maps and sets', () => {
    const ref = db.create('network', {});
    db.addToMap('network', ref, 'other_config', '__proto__', 'x');
    db.putInMap('network', ref, 'other_config', 'k', 'v');
    db.removeFromMap('network', ref, 'other_config', 'absent');
    db.addToSet('network', ref, 'tags', 't');
    db.addToSet('network', ref, 'tags', 't');
    expect(Object.entries(db.get('network', ref).other_config)).to.deep.equal([
      ['__proto__', 'x'],
      ['k', 'v'],
    ]);
    expect(db.get('network', ref).tags).to.deep.equal(['t']);
    db.removeFromSet('network', ref, 'tags', 't');
    expect(db.get('network', ref).tags).to.deep.equal([]);
  });

  it('keeps back references right through create, update and destroy', () => {
    const [one, two] = [db.create('network', {}), db.create('network', {})];
    const vm = db.create('VM', {});
    const vif = db.create('VIF', { VM: vm, network: one });
    expect(db.get('VM', vm).VIFs).to.deep.equal([vif]);
    expect(db.get('network', one).VIFs).to.deep.equal([vif]);
    db.update('VIF', vif, { network: two });
    expect(db.get('network', one).VIFs).to.deep.equal([]);
    expect(db.get('network', two).VIFs).to.deep.equal([vif]);
    db.destroy('VIF', vif);
    expect(db.get('VM', vm).VIFs).to.deep.equal([]);
    expect(db.get('network', two).VIFs).to.deep.equal([]);
  });

  it('keeps rows, generations and back references through a restart, and forgets sessions, tasks and operations', async () => {
    const vm = db.create('VM', { name_label: 'kept', current_operations: { x: 'start' } });
    const vif = db.create('VIF', { VM: vm });
    db.create('task', {});
    db.create('session', {});
    const gone = db.create('network', {});
    db.destroy('network', gone);
    const generation = db.generation();
    await reopen();
    expect(db.get('VM', vm)).to.include({ name_label: 'kept' });
    expect(db.get('VM', vm).VIFs).to.deep.equal([vif]);
    expect(db.get('VM', vm).current_operations).to.deep.equal({});
    expect(db.get('VM', vm).snapshot_time).to.be.instanceOf(Date);
    expect(db.find('network', gone)).to.equal(undefined);
    expect([db.count('task'), db.count('session')]).to.deep.equal([0, 0]);
    expect(db.generation()).to.be.greaterThan(generation);
  });

  it('writes no row for its back references alone', async () => {
    const network = db.create('network', {});
    await db.saved();
    const row = () => store.table<{ modified: number; record: object }>('rows.network').get(network);
    const { modified } = row()!;
    db.create('VIF', { network });
    await db.saved();
    expect(row()!.modified).to.equal(modified);
    expect(row()!.record).not.to.have.property('VIFs');
    expect(db.get('network', network).VIFs).to.have.length(1);
  });

  it('does not count a change that changes nothing', () => {
    const ref = db.create('network', { tags: ['a'] });
    const generation = db.generation();
    db.update('network', ref, { tags: ['a'] });
    expect(db.generation()).to.equal(generation);
  });
});
