/** A pool over fake hosts, with a real store in a directory of its own, called through its handlers as the front does. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RecordOf, Ref } from '../../idl/index.js';
import { checkSpec } from '../../src/backend/simulator/content.js';
import { nullLog } from '../../src/base/log.js';
import { openStore, type Store } from '../../src/base/store/store.js';
import type { OpenTask } from '../../src/model/dispatch-deps.js';
import type { CallContext } from '../../src/model/handlers.js';
import { recordWithDefaults } from '../../src/model/value.js';
import { createPool, type Pool, type PoolDeps } from '../../src/pool/pool.js';
import { fullWhile } from '../support/full-store.js';
import { failureOf } from '../support/refusal.js';
import { type FakeHost, fakeHost, gib } from './fake-host.js';
import { type FakeMembership, fakeMembership } from './fake-membership.js';

export const uuidOf = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

export interface Fixture {
  readonly pool: Pool;
  readonly store: Store;
  readonly dir: string;
  readonly a: FakeHost;
  /** A member; joined by `joinB`. */
  readonly b: FakeHost;
  readonly hostA: Ref<'host'>;
  readonly membership: FakeMembership;
  /** The disk of the coordinator's database has no room. */
  isFull: boolean;
  joinB(): Promise<Ref<'host'>>;
  task(label?: string): OpenTask;
  context(task?: OpenTask): CallContext;
  createVm(given?: Partial<RecordOf<'VM'>>): Promise<Ref<'VM'>>;
  /** A VM that runs on the coordinator's host. */
  runningVm(given?: Partial<RecordOf<'VM'>>): Promise<Ref<'VM'>>;
  /** The code and parameters with which a call fails. */
  failure(call: () => unknown): Promise<string[]>;
  /** Resolves when the condition holds, which is looked at with every change of the database. */
  until(condition: () => boolean): Promise<void>;
  /** Close the pool and open it anew on the same store. */
  restart(): Promise<Fixture>;
  close(): Promise<void>;
}

export async function openFixture(
  hosts = [fakeHost('a', uuidOf(1), 8001), fakeHost('b', uuidOf(2), 8002)],
  times: Partial<Pick<PoolDeps, 'now' | 'elapsed' | 'log'>> = {},
): Promise<Fixture> {
  return build(mkdtempSync(join(tmpdir(), 'xenferry-pool-')), hosts as [FakeHost, FakeHost], fakeMembership(), times);
}

async function build(
  dir: string,
  hosts: [FakeHost, FakeHost],
  membership: FakeMembership,
  times: Partial<Pick<PoolDeps, 'now' | 'elapsed' | 'log'>>,
): Promise<Fixture> {
  const [a, b] = hosts;
  const disk = { isFull: false };
  const store = fullWhile(openStore(join(dir, 'db')), () => disk.isFull);
  const pool = await createPool({
    store,
    stateDir: dir,
    log: nullLog,
    own: a.service,
    checkSpec,
    connect: (url) => (url === b.url ? b : a).service,
    membership,
    version: '0.0.0',
    ...times,
    retryAfter: () => 5,
  });
  const { db, dispatch } = pool;
  const hostA = db.byUuid('host', uuidOf(1));
  const task = (label = 'Async.VM.test'): OpenTask => dispatch.tasks.create(label, undefined);
  const context = (own = task()): CallContext => ({
    task: own,
    log: nullLog,
    origin: { address: '127.0.0.1', userAgent: 'test', closed: new AbortController().signal },
  });
  const createVm = async (given: Partial<RecordOf<'VM'>> = {}): Promise<Ref<'VM'>> => {
    const memory = { memory_static_max: gib, memory_dynamic_max: gib, memory_dynamic_min: gib };
    const defaults = recordWithDefaults('VM') as RecordOf<'VM'>;
    const cpus = { VCPUs_max: 1, VCPUs_at_startup: 1 };
    return dispatch.handlers.VM.create(context(), { ...defaults, ...memory, ...cpus, name_label: 'vm', ...given });
  };
  const closePool = async (): Promise<void> => {
    await pool.close().catch((error: unknown) => {
      if (!disk.isFull) throw error;
    });
    await store.close();
  };
  return Object.assign(disk, {
    pool,
    store,
    dir,
    a,
    b,
    hostA,
    membership,
    joinB: () => pool.join(b.state()),
    task,
    context,
    createVm,
    async runningVm(given?: Partial<RecordOf<'VM'>>) {
      const vm = await createVm(given);
      await dispatch.handlers.VM.start_on(context(), vm, hostA, false, false);
      return vm;
    },
    failure: failureOf,
    until: (condition: () => boolean) =>
      new Promise<void>((resolve) => {
        const look = (): void => {
          if (!condition()) return;
          stop();
          resolve();
        };
        const stop = db.onChange(look);
        look();
      }),
    async restart() {
      await closePool();
      return build(dir, hosts, membership, times);
    },
    async close() {
      await closePool();
      for (const host of hosts) host.close();
      rmSync(dir, { recursive: true, force: true });
    },
  });
}
