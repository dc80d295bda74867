import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { classes, type EventBatch } from '../../../idl/index.js';
import { toXapiError } from '../../../src/base/errors.js';
import { nullLog } from '../../../src/base/log.js';
import { openStore, type Store } from '../../../src/base/store/store.js';
import { type Database, openDatabase } from '../../../src/pool/database/database.js';
import { createEvents, type Events } from '../../../src/pool/events/event-from.js';

const open = new AbortController().signal;

describe('event', () => {
  let dir: string;
  let store: Store;
  let db: Database;
  let events: Events;

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'xenferry-event-'));
    store = openStore(dir);
    db = await openDatabase(store, nullLog);
    events = createEvents(db);
  });
  after(async () => {
    await db.saved();
    await store.close();
    rmSync(dir, { recursive: true });
  });
  const from = (names: string[], token = '', timeoutSeconds = 0, ended = open): Promise<EventBatch> =>
    events.from({ classes: names, token, timeoutSeconds, ended });
  const shape = (batch: EventBatch): string[] => batch.events.map((e) => `${e.operation} ${e.class} ${e.ref}`);

  it('gives every row as add for an empty token, and counts every class', async () => {
    const ref = db.create('network', { name_label: 'first' });
    const batch = await from(['*']);
    const event = batch.events.find((each) => each.ref === ref);
    expect(event).to.deep.include({ operation: 'add', class: 'network', timestamp: '0.0' });
    expect(event?.snapshot).to.deep.include({ name_label: 'first' });
    expect(event?.id).to.be.a('string');
    expect(batch.token).to.match(/^\d{20},\d{20}$/);
    const inDatabase = Object.values(classes).filter((cls) => cls.inDatabase);
    expect(Object.keys(batch.valid_ref_counts)).to.have.members(inDatabase.map((cls) => cls.name.toLowerCase()));
    expect(batch.valid_ref_counts.network).to.equal(db.count('network'));
  });

  it('takes changes together, in the order add, mod, del', async () => {
    const [changed, deleted] = [db.create('network', {}), db.create('network', {})];
    const { token } = await from(['*']);
    db.destroy('network', deleted);
    db.update('network', changed, { name_label: 'x' });
    db.update('network', changed, { name_label: 'y' });
    const brief = db.create('network', {});
    db.destroy('network', brief);
    const added = db.create('network', {});
    db.update('network', added, { name_label: 'z' });
    const batch = await from(['network'], token);
    expect(shape(batch)).to.deep.equal([`add network ${added}`, `mod network ${changed}`, `del network ${deleted}`]);
    expect(batch.events[2]).not.to.have.property('snapshot');
    expect(shape(await from(['network'], batch.token))).to.deep.equal([]);
    expect(batch.token > token).to.equal(true);
  });

  it('takes classes in any case and single objects, and leaves out what sends no events', async () => {
    const [mine, other] = [db.create('task', {}), db.create('task', {})];
    db.create('session', {});
    expect(shape(await from([`TASK/${mine}`]))).to.deep.equal([`add task ${mine}`]);
    expect(shape(await from(['TaSk']))).to.include.members([`add task ${mine}`, `add task ${other}`]);
    expect(shape(await from(['session', 'no_such_class']))).to.deep.equal([]);
  });

  const wrong: [string, string[], string, string[]][] = [
    ['a token that is none', ['*'], 'nonsense', ['EVENT_FROM_TOKEN_PARSE_FAILURE', 'nonsense']],
    ['a subscription that is none', ['task/a/b'], '', ['EVENT_SUBSCRIPTION_PARSE_FAILURE', 'task/a/b']],
    ['an empty subscription', [''], '', ['EVENT_SUBSCRIPTION_PARSE_FAILURE', '']],
  ];
  for (const [what, names, token, expected] of wrong) {
    it(`refuses ${what}`, async () => {
      const error = toXapiError(await from(names, token).catch((e: unknown) => e));
      expect([error.code, ...error.params]).to.deep.equal(expected);
    });
  }

  it('waits for a wanted change and takes what follows in the same turn with it', async () => {
    const { token } = await from(['*']);
    const waiting = from(['network'], token, 60);
    db.create('task', {});
    const ref = db.create('network', {});
    db.update('network', ref, { name_label: 'late' });
    const batch = await waiting;
    expect(shape(batch)).to.deep.equal([`add network ${ref}`]);
    expect(batch.events[0]?.snapshot).to.deep.include({ name_label: 'late' });
  });

  it('gives an empty batch with a token that is good at the timeout, and when the caller is gone', async () => {
    const { token } = await from(['*']);
    const batch = await from(['network'], token, 0.01);
    expect(batch.events).to.deep.equal([]);
    const gone = new AbortController();
    const waiting = from(['network'], batch.token, 60, gone.signal);
    gone.abort();
    expect((await waiting).events).to.deep.equal([]);
    const ref = db.create('network', {});
    expect(shape(await from(['network'], batch.token))).to.deep.equal([`add network ${ref}`]);
  });

  it('gives every row again for a token of another run', async () => {
    const before = db.create('network', {});
    const { token } = await from(['network']);
    db.create('network', {});
    await db.saved();
    await store.close();
    store = openStore(dir);
    db = await openDatabase(store, nullLog);
    events = createEvents(db);
    const all = db.all('network').map(([ref]) => ref);
    const batch = await from(['network'], token);
    expect(batch.events.map(({ ref }) => ref)).to.have.members(all);
    expect(batch.events.find(({ ref }) => ref === before)?.operation).to.equal('mod');
    const ahead = `${'0'.repeat(20)},${String(db.generation() + 1).padStart(20, '0')}`;
    expect((await from(['network'], ahead)).events).to.have.length(all.length);
    expect(shape(await from(['network'], batch.token))).to.deep.equal([]);
  });

  it('finds the newest change of each row among very many', async () => {
    const [kept, busy] = [db.create('network', {}), db.create('network', {})];
    const { token } = await from(['*']);
    db.update('network', kept, { name_label: 'once' });
    for (let i = 0; i < 25_000; i++) db.touch('network', busy);
    expect(shape(await from(['*'], token))).to.deep.equal([`mod network ${kept}`, `mod network ${busy}`]);
  });

  it('injects: a token from just before, from which the object has changed', async () => {
    const ref = db.create('network', {});
    const token = events.inject('network', ref);
    expect(shape(await from(['*'], token))).to.deep.equal([`mod network ${ref}`]);
    expect(() => events.inject('Network', ref)).to.throw('HANDLE_INVALID');
    expect(events.currentId()).to.equal(db.generation());
  });
});
