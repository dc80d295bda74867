import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { EventChange, Ref } from '../../../idl/index.js';
import { toXapiError } from '../../../src/base/errors.js';
import { nullLog } from '../../../src/base/log.js';
import { openStore, type Store } from '../../../src/base/store/store.js';
import { type Database, openDatabase } from '../../../src/pool/database/database.js';
import { createEventQueue, type EventQueue } from '../../../src/pool/events/event-register.js';

const session = 'OpaqueRef:session' as Ref<'session'>;
const other = 'OpaqueRef:other' as Ref<'session'>;
const open = new AbortController().signal;
const over = AbortSignal.abort();

describe('event queue', () => {
  let dir: string;
  let store: Store;
  let db: Database;
  let queue: EventQueue;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'xenferry-queue-'));
    store = openStore(dir);
    db = await openDatabase(store, nullLog);
    queue = createEventQueue(db);
  });
  afterEach(async () => {
    await db.saved();
    await store.close();
    rmSync(dir, { recursive: true });
  });
  const shape = (events: EventChange[]): string[] => events.map((e) => `${e.operation} ${e.class} ${e.ref}`);
  /** What is there now, without waiting. */
  const now = async (of = session): Promise<string[]> => shape(await queue.next(of, over));
  const code = async (work: Promise<unknown>): Promise<string> => toXapiError(await work.catch((e: unknown) => e)).code;

  it('tells each change by itself, in order, once', async () => {
    const old = db.create('network', {});
    queue.register(session, ['network'], open);
    const ref = db.create('network', { name_label: 'one' });
    db.update('network', ref, { name_label: 'two' });
    db.create('task', {});
    db.create('VIF', { network: old });
    db.destroy('network', ref);
    const events = await queue.next(session, open);
    expect(shape(events)).to.deep.equal([
      `add network ${ref}`,
      `mod network ${ref}`,
      `mod network ${old}`,
      `del network ${ref}`,
    ]);
    const names = events.slice(0, 2).map(({ snapshot }) => (snapshot as { name_label: string }).name_label);
    expect(names).to.deep.equal(['one', 'two']);
    expect(events[3]).not.to.have.property('snapshot');
    expect(await now()).to.deep.equal([]);
  });

  it('waits for what is next', async () => {
    queue.register(session, ['*'], open);
    const waiting = queue.next(session, open);
    const ref = db.create('network', {});
    expect(shape(await waiting)).to.deep.equal([`add network ${ref}`]);
  });

  it('takes classes in any case, adds up what is registered, and takes back by name', async () => {
    queue.register(session, ['NETWORK'], open);
    queue.register(session, ['Task'], open);
    queue.unregister(session, ['network']);
    db.create('network', {});
    const task = db.create('task', {});
    expect(await now()).to.deep.equal([`add task ${task}`]);
    queue.unregister(session, ['task']);
    expect(await code(queue.next(session, open))).to.equal('SESSION_NOT_REGISTERED');
  });

  it('refuses a subscription that is none, and a session that has none', async () => {
    expect(() => queue.register(session, ['a/b/c'], open)).to.throw('EVENT_SUBSCRIPTION_PARSE_FAILURE a/b/c');
    expect(await code(queue.next(session, open))).to.equal('SESSION_NOT_REGISTERED');
  });

  it('keeps for each session what it has not had', async () => {
    queue.register(session, ['network'], open);
    queue.register(other, ['network'], open);
    const first = db.create('network', {});
    expect(await now()).to.deep.equal([`add network ${first}`]);
    const second = db.create('network', {});
    expect(await now(other)).to.deep.equal([`add network ${first}`, `add network ${second}`]);
    expect(await now()).to.deep.equal([`add network ${second}`]);
  });

  it('says once that events are lost when too much was kept', async () => {
    queue = createEventQueue(db, 20_000);
    queue.register(session, ['network'], open);
    queue.register(other, ['network'], open);
    for (let i = 0; i < 30; i++) {
      db.create('network', { name_label: 'x'.repeat(1000) });
      await now(other);
    }
    expect(await code(queue.next(session, open))).to.equal('EVENTS_LOST');
    expect(await now()).to.deep.equal([]);
    const ref = db.create('network', {});
    expect([await now(), await now(other)]).to.deep.equal([[`add network ${ref}`], [`add network ${ref}`]]);
  });

  it('forgets a session that ends', async () => {
    const ending = new AbortController();
    queue.register(session, ['*'], ending.signal);
    const waiting = queue.next(session, ending.signal);
    ending.abort();
    expect(await waiting).to.deep.equal([]);
    expect(await code(queue.next(session, open))).to.equal('SESSION_NOT_REGISTERED');
  });
});
