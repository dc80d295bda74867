import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { open } from 'lmdb';
import type { DomainHandle } from '../../src/base/domain.js';
import { nullLog } from '../../src/base/log.js';
import type { SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import { openRow } from '../../src/base/store/row.js';
import { openStore, type Store } from '../../src/base/store/store.js';
import type { DestinationDeps } from '../../src/migrate/destination/incoming.js';
import { createDestination, fullAnnouncement } from '../../src/migrate/destination/migrations.js';
import { createRendezvous } from '../../src/migrate/destination/rendezvous.js';
import type { Peer } from '../../src/migrate/peers.js';
import { type SourceState, temporaryUuid } from '../../src/migrate/protocol.js';
import type { MigrationReport } from '../../src/migrate/request.js';
import { createMigrations, type Migrations } from '../../src/migrate/source/migrations.js';
import { type DestinationRow, openJournal, type SourceRow } from '../../src/xenops/journal.js';
import { createQueue } from '../../src/xenops/queue.js';
import { createSemaphore } from '../../src/xenops/semaphore.js';
import { migrate, openTestHost, requestTo, type TestHost, testDomain } from '../support/hosts.js';
import { testLimits } from '../support/limits.js';
import { noFaults } from '../support/no-faults.js';
import { type Loss, type SlowDisk, watchFlushes } from '../support/slow-disk.js';

type Side = 'source' | 'destination';

/** More than comes between a decision and what comes of it, where nobody waits for the disk. */
const flushMs = 150;

/** At a moment, what is left of a host when it loses its power then. */
interface Moment {
  readonly what: string;
  readonly side: Side;
  readonly loss: Loss;
}

/** The states of a migration, side by side with the moments, as the disks have them. */
async function statesAt(moments: readonly Moment[], id: string): Promise<string[]> {
  const directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-power-'));
  try {
    const states: string[] = [];
    for (const [index, { what, side, loss }] of moments.entries()) {
      const at = path.join(directory, String(index));
      loss.restore(at);
      const database = open<unknown, string[]>({ path: path.join(at, 'db'), noSubdir: false });
      const key = ['migration-journal', `${side}/${id}`];
      const sealed = database.get(key);
      const row = sealed === undefined ? undefined : (openRow(key, sealed) as { state: string });
      states.push(`${what}: ${row?.state ?? 'nothing'}`);
      await database.close();
    }
    return states;
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** Do something first, whenever a method is called. */
function onCall<T extends object, K extends keyof T & string>(of: T, name: K, act: () => void): void {
  const method = of[name] as (...args: unknown[]) => unknown;
  Object.assign(of, {
    [name]: (...args: unknown[]) => {
      act();
      return method(...args);
    },
  });
}

describe('Whoever loses the power while a VM migrates', function () {
  this.timeout(60_000);
  let disk: SlowDisk;
  let source: TestHost;
  let destination: TestHost;
  let moments: Moment[] = [];
  /** Whether the destination is to refuse, for its back end does not answer after point 3. */
  let refuses = false;
  let lists = true;

  const note = (what: string, side: Side): void => {
    const host = side === 'source' ? source : destination;
    moments.push({ what, side, loss: disk.lose(host.stateDir) });
  };
  before(async () => {
    disk = await watchFlushes(flushMs);
    source = await openTestHost({
      onLog({ message }) {
        if (message === 'synchronisation point 3: sent') note('3 is sent', 'source');
      },
    });
    destination = await openTestHost({
      onEngine: ({ destination: side }) =>
        onCall(side, 'acknowledge', () => note('the outcome may be forgotten', 'source')),
      onLog({ message }) {
        if (message === 'synchronisation point 3: received') lists = !refuses;
      },
    });
    const { service } = destination.engine;
    const { receive } = service;
    Object.assign(service, {
      receive: async (request: never) => {
        const reply = await receive(request);
        note('VM.receive is answered', 'destination');
        return reply;
      },
    });
    const { list } = destination.simulator;
    Object.assign(destination.simulator, {
      list: async () => {
        const fails = !lists;
        lists = true;
        if (fails) throw new Error('a test');
        return list();
      },
    });
    onCall(destination.simulator, 'rename', () => note('what was taken is touched', 'destination'));
    onCall(source.simulator, 'unpause', () => note('the VM goes on', 'source'));
    onCall(source.simulator, 'destroy', () => note('the old copy goes', 'source'));
  });
  after(async () => {
    await source.close();
    await destination.close();
    disk.close();
  });
  const run = async (): Promise<{ id: string; status: string }> => {
    const domain = testDomain({ memoryBytes: 4 << 20 });
    await source.engine.service.start(domain, false);
    moments = [];
    const request = requestTo(destination, domain, false);
    const { status } = await migrate(source, request);
    while (!moments.some(({ what }) => what === 'the outcome may be forgotten')) await delay(5);
    return { id: request.migrationId, status };
  };

  it('has, of a VM that is taken, what was decided before anything came of it', async () => {
    const { id, status } = await run();
    expect(status).to.equal('success');
    expect(await statesAt(moments, id)).to.deep.equal([
      'VM.receive is answered: reserved',
      '3 is sent: going',
      'what was taken is touched: taken',
      'the old copy goes: done',
      'the outcome may be forgotten: done',
    ]);
  });

  it('has, of a VM that is refused at the last moment, what was decided before the VM goes on', async () => {
    refuses = true;
    const { id, status } = await run();
    expect(status).to.equal('failure');
    // The VM goes on, and the destination is told, in any order.
    expect(await statesAt(moments, id)).to.have.members([
      'VM.receive is answered: reserved',
      '3 is sent: going',
      'the VM goes on: failed',
      'the outcome may be forgotten: failed',
    ]);
  });
});

describe('Whoever loses the power while an earlier migration is brought to its end', function () {
  this.timeout(30_000);
  let disk: SlowDisk;
  let host: TestHost;
  let directory: string;
  let store: Store;
  let moments: Moment[];
  let close: () => Promise<void>;

  before(async () => {
    host = await openTestHost();
  });
  after(() => host.close());
  beforeEach(async () => {
    disk = await watchFlushes(flushMs);
    directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-power-'));
    store = openStore(path.join(directory, 'db'));
    moments = [];
  });
  afterEach(async () => {
    await close();
    await store.close();
    disk.close();
    for (const { handle } of await host.simulator.list()) await host.simulator.destroy(handle);
    fs.rmSync(directory, { recursive: true, force: true });
  });
  const noting = (side: Side) => (what: string) => {
    moments.push({ what, side, loss: disk.lose(directory) });
  };
  /** A paused domain under a name. */
  async function domainOf(spec: SimulatedSpec): Promise<DomainHandle> {
    const handle = await host.simulator.create(spec);
    await host.simulator.build(handle);
    return handle;
  }

  function openSource(answer: string): Migrations {
    const note = noting('source');
    const backend = { ...host.simulator };
    onCall(backend, 'unpause', () => note('the VM goes on'));
    onCall(backend, 'destroy', () => note('the old copy goes'));
    const peer = { settle: async () => answer, acknowledge: async () => note('the outcome may be forgotten') };
    const never = () => expect.fail('nothing of that here');
    const migrations = createMigrations({
      ...{ queue: createQueue(4), semaphore: createSemaphore(() => 4), tell: () => note('the end is told') },
      source: () => ({
        deps: {
          ...{ backend, journal: openJournal(store), faults: noFaults, helper: backend.saveHelper(), log: nullLog },
          suspended: { imageOf: never, sizes: never, send: never, discard: never },
          peers: { receive: never, locate: never, at: () => peer as unknown as Peer },
          zstd: { compress: ['zstd'], decompress: ['zstd'], standIn: false },
          xenopsUrl: () => '',
        },
        settings: {
          ...({ compressor: 'stream', compressionLevel: 'auto', digest: false, stepTimeoutMs: 60_000 } as const),
          convergence: { maxDowntimeMs: 300, maxRounds: 4, strategy: 'proceed' },
          ...{ suspendTimeoutMs: 1000, limits: testLimits, keepAliveMs: 10_000 },
        },
      }),
    });
    close = migrations.close;
    return migrations;
  }

  const told = ['the end is told: failed', 'the outcome may be forgotten: failed'];
  const cases: readonly [state: SourceState, answer: string, moments: readonly string[]][] = [
    ['copying', 'refused', ['the VM goes on: copying', ...told]],
    ['going', 'refused', ['the VM goes on: failed', ...told]],
    ['going', 'taken', ['the end is told: done', 'the old copy goes: done', 'the outcome may be forgotten: done']],
    ['done', 'taken', ['the old copy goes: done', 'the outcome may be forgotten: done']],
    ['failed', 'refused', ['the outcome may be forgotten: failed']],
  ];
  for (const [state, answer, expected] of cases) {
    it(`has what counts of a row ${state} at a source that hears ${answer}`, async () => {
      const domain = testDomain({ memoryBytes: 1 << 20 });
      const row: SourceRow<SourceState> = {
        ...{ side: 'source', migrationId: randomUUID(), task: 't', uuid: domain.uuid, state, wasRunning: true },
        handle: await domainOf(domain),
        request: requestTo(host, domain, false),
        agreed: { migrationId: 'id', xenopsUrl: 'http://127.0.0.1:1/services/xenops', token: 'token' },
        report: {} as MigrationReport,
      };
      await openJournal(store).put(row, ['copying', 'going'].includes(state) ? 'powerLoss' : undefined);
      const migrations = openSource(answer);
      await migrations.recover();
      while (moments.at(-1)?.what !== 'the outcome may be forgotten') await delay(5);
      expect(await statesAt(moments, row.migrationId)).to.deep.equal(expected);
    });
  }

  it('has the refusal of what was taken, before its copy goes', async () => {
    const domain = testDomain({ memoryBytes: 1 << 20 });
    const uuid = temporaryUuid(domain.uuid);
    const row: DestinationRow = {
      ...{ side: 'destination', migrationId: randomUUID(), uuid: domain.uuid, temporaryUuid: uuid, state: 'taken' },
      handle: await domainOf({ ...domain, uuid }),
      ...{ token: 'token', reply: {} },
      request: { version: 1, domain, vifs: [], sourceUrl: 'http://127.0.0.1:2' },
    };
    const journal = openJournal(store);
    await journal.put(row, 'powerLoss');
    const backend = { ...host.simulator };
    const note = noting('destination');
    onCall(backend, 'destroyUnlessRan', () => note('the copy goes'));
    const never = () => expect.fail('no attempt begins here');
    const destination = createDestination({
      ...{ backend, journal, rendezvous: createRendezvous(nullLog), faults: noFaults, queue: createQueue(4) },
      ...{ limit: () => 4, xenopsUrl: () => '', announce: fullAnnouncement, log: nullLog },
      ...{ zstd: never, timeouts: never, limits: never, suspended: {} },
      peers: { at: () => ({ mayRun: async () => 'no' }) as unknown as Peer },
      onEnded: () => note('the end is told'),
    } as unknown as DestinationDeps);
    close = destination.close;
    await destination.recover();
    while (moments.length < 2) await delay(5);
    expect(await statesAt(moments, row.migrationId)).to.deep.equal([
      'the end is told: refused',
      'the copy goes: refused',
    ]);
  });
});
