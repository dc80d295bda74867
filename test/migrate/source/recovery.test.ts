import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { DomainHandle } from '../../../src/base/domain.js';
import { nullLog } from '../../../src/base/log.js';
import { createHostEvents, type HostEvents } from '../../../src/host/service/events.js';
import { type Peer, settleWithin } from '../../../src/migrate/peers.js';
import { oldCopyUuid, type SourceState } from '../../../src/migrate/protocol.js';
import type { MigrationOutcome, MigrationReport } from '../../../src/migrate/request.js';
import { createMigrations, type Migrations } from '../../../src/migrate/source/migrations.js';
import { resume } from '../../../src/migrate/source/recovery.js';
import type { Journal, SourceRow } from '../../../src/xenops/journal.js';
import { createQueue } from '../../../src/xenops/queue.js';
import { createSemaphore } from '../../../src/xenops/semaphore.js';
import { openTestHost, requestTo, type TestHost, testDomain } from '../../support/hosts.js';
import { testLimits } from '../../support/limits.js';
import { memoryJournal } from '../../support/memory-journal.js';
import { noFaults } from '../../support/no-faults.js';

const agreed = { migrationId: 'id', xenopsUrl: 'http://127.0.0.1:1/services/xenops', token: 'token' };

describe('The outcome that a destination settles on', () => {
  const settle = (answers: unknown[]) => {
    const peer = { settle: async () => answers.shift() } as unknown as Peer;
    const peers = { receive: () => expect.fail(), locate: () => expect.fail(), at: () => peer };
    return settleWithin(answers.length === 1 ? 0 : 60_000, peers, agreed, nullLog);
  };
  for (const answer of ['taken', 'refused', 'unknown'] as const) {
    it(`is ${answer} where it answers so`, async () => {
      expect(await settle([answer])).to.equal(answer);
    });
  }
  for (const answer of [null, undefined, '', 'Refused', 'aborted', 0, {}]) {
    it(`is unknown where it answers ${JSON.stringify(answer)}`, async () => {
      expect(await settle([answer])).to.equal('unknown');
    });
  }
  it('is asked for again', async () => {
    expect(await settle([null, 'taken'])).to.equal('taken');
  });
});

describe('A source that starts anew', function () {
  this.timeout(30_000);
  let host: TestHost;
  let journal: Journal;
  let events: HostEvents;
  let answer: unknown;
  let acknowledged: string[];
  let migrations: Migrations;
  /** What a domain waits for before it runs. */
  let mayUnpause: Promise<void>;

  before(async () => {
    host = await openTestHost();
  });
  after(() => host.close());
  beforeEach(() => {
    journal = memoryJournal();
    events = createHostEvents('host', 0);
    acknowledged = [];
    mayUnpause = Promise.resolve();
    const peer = {
      settle: async () => answer,
      acknowledge: async (id: string) => void acknowledged.push(id),
    } as unknown as Peer;
    const never = () => expect.fail('no VM is suspended here');
    const deps = {
      backend: {
        ...host.simulator,
        unpause: (handle: DomainHandle, token: string) => mayUnpause.then(() => host.simulator.unpause(handle, token)),
      },
      suspended: { imageOf: never, sizes: never, send: never, discard: never },
      journal,
      peers: { receive: () => expect.fail(), locate: () => expect.fail(), at: () => peer },
      faults: noFaults,
      helper: host.simulator.saveHelper(),
      zstd: { compress: ['zstd'], decompress: ['zstd'], standIn: false },
      xenopsUrl: () => '',
      log: nullLog,
    } as const;
    const settings = {
      ...({
        compressor: 'stream',
        compressionLevel: 'auto',
        convergence: { maxDowntimeMs: 300, maxRounds: 4, strategy: 'proceed' },
        digest: false,
        suspendTimeoutMs: 1000,
        limits: testLimits,
        keepAliveMs: 10_000,
      } as const),
      // How soon doubt is told: never before an answer that comes.
      get stepTimeoutMs() {
        return answer === 'taken' || answer === 'refused' ? 60_000 : 1;
      },
    };
    migrations = createMigrations({
      queue: createQueue(4),
      semaphore: createSemaphore(() => 4),
      tell: events.emit,
      source: () => ({ deps, settings }),
    });
  });
  afterEach(async () => {
    await migrations.close();
    for (const { handle } of await host.simulator.list()) await host.simulator.destroy(handle);
  });

  /** A domain as a migration left it, and its row. */
  async function leftBehind(state: SourceState, handle?: DomainHandle): Promise<SourceRow<SourceState>> {
    const domain = testDomain();
    if (handle === undefined) {
      await host.engine.service.start(domain, true);
      handle = (await host.simulator.list()).find(({ uuid }) => uuid === domain.uuid)?.handle as DomainHandle;
      if (state === 'going') await host.simulator.rename(handle, oldCopyUuid(domain.uuid));
    }
    const request = requestTo(host, domain, false);
    const row: SourceRow<SourceState> = {
      side: 'source',
      migrationId: request.migrationId,
      task: request.task,
      uuid: domain.uuid,
      state,
      handle,
      wasRunning: true,
      request,
      agreed,
      report: {} as MigrationReport,
    };
    await journal.put(row);
    return row;
  }
  async function ended(migrationId: string): Promise<MigrationOutcome> {
    for (;;) {
      const outcome = await migrations.outcome(migrationId);
      if (outcome !== undefined) return outcome;
      await delay(10);
    }
  }
  const domainOf = async (row: SourceRow) =>
    (await host.simulator.list()).find(({ handle }) => handle.domid === row.handle?.domid);

  const ofLostHypervisor = { instance: randomUUID(), domid: 1 };
  for (const state of ['preparing', 'copying', 'suspended', 'going', 'done'] as const) {
    for (const said of ['taken', 'refused', 'unknown'] as const) {
      it(`with a row ${state} of a hypervisor that is lost, and the word ${said}, does start`, async () => {
        answer = said;
        const { migrationId } = await leftBehind(state, ofLostHypervisor);
        await migrations.recover();
        if (state !== 'done') await ended(migrationId);
        expect(await host.simulator.list()).to.deep.equal([]);
      });
    }
  }

  it('starts where the name of the VM was given to another domain', async () => {
    const row = await leftBehind('suspended');
    await host.simulator.rename(row.handle!, oldCopyUuid(row.uuid));
    await host.simulator.create(testDomain({ uuid: row.uuid }));
    await migrations.recover();
    expect(await ended(row.migrationId)).to.have.property('status', 'failure');
  });

  it('has the VM in doubt, paused and under its name, where the destination says nothing', async () => {
    answer = null;
    const row = await leftBehind('going');
    await migrations.recover();
    expect(await ended(row.migrationId)).to.have.property('status', 'in-doubt');
    expect(await domainOf(row))
      .to.include({ uuid: row.uuid, state: 'paused' })
      .and.to.have.property('inDoubt');
    expect(journal.get('source', row.migrationId)).to.have.property('state', 'going');
    const refused = await migrations.endEarlier(row.uuid).catch((error: unknown) => error);
    expect(refused).to.have.property('code', 'OPERATION_NOT_ALLOWED');
    expect(refused).to.have.property('message').that.includes('has not said whether it runs the VM');
  });

  it('is done with a VM whose guest has ended meanwhile', async () => {
    const row = await leftBehind('copying');
    const list = async () => (await host.simulator.list()).map((domain) => ({ ...domain, state: 'shutdown' as const }));
    const unpause = () => expect.fail('it cannot run');
    await resume({ ...host.simulator, list, unpause }, row);
    expect(await domainOf(row)).to.include({ state: 'paused', everRan: false });
  });

  it('resumes the VM where the destination has refused it', async () => {
    answer = 'refused';
    const row = await leftBehind('going');
    await migrations.recover();
    expect(await ended(row.migrationId)).to.have.property('status', 'failure');
    expect(await domainOf(row))
      .to.include({ uuid: row.uuid, state: 'running' })
      .and.not.to.have.property('inDoubt');
  });

  it('tells of a failure when the VM runs again, and not before', async () => {
    answer = 'refused';
    const row = await leftBehind('going');
    let unpause = () => {};
    mayUnpause = new Promise((resolve) => {
      unpause = resolve;
    });
    const { next } = await events.after(0, 0);
    await migrations.recover();
    while (journal.get('source', row.migrationId)?.state !== 'failed') await delay(10);
    expect(await migrations.outcome(row.migrationId)).to.equal(undefined);
    unpause();
    const [told, ...more] = (await events.after(next, 10)).events;
    expect(told).to.have.nested.property('outcome.status', 'failure');
    expect(more).to.deep.equal([]);
    expect(await migrations.outcome(row.migrationId)).to.have.property('status', 'failure');
    expect(await domainOf(row)).to.have.property('state', 'running');
  });

  it('does not resume a VM that the coordinator has given up here, whatever the destination says', async () => {
    answer = 'refused';
    const row = await leftBehind('going');
    await host.simulator.markInDoubt(row.handle!, 'the VM was started elsewhere');
    await migrations.recover();
    expect(await ended(row.migrationId)).to.have.property('status', 'failure');
    while (journal.get('source', row.migrationId)?.acknowledged !== true) await delay(10);
    expect(await domainOf(row)).to.include({ state: 'paused', inDoubt: 'the VM was started elsewhere' });
  });

  it('destroys the old copy and says so where the destination has taken the VM', async () => {
    answer = 'taken';
    const row = await leftBehind('going');
    const { next } = await events.after(0, 0);
    await migrations.recover();
    const [told] = (await events.after(next, 10)).events;
    expect(told).to.have.nested.property('outcome.status', 'success');
    while (journal.get('source', row.migrationId)?.acknowledged !== true) await delay(10);
    expect(await domainOf(row)).to.equal(undefined);
    expect(acknowledged).to.deep.equal([agreed.migrationId]);
  });

  it('says that a migration which it does not know never began', async () => {
    expect(await migrations.outcome(randomUUID())).to.have.property('status', 'failure');
  });

  it('tells the end of a migration again to who asks for it again', async () => {
    const row = await leftBehind('copying');
    await migrations.recover();
    const before = await events.after(0, 0);
    const request = { ...requestTo(host, testDomain(), false), migrationId: row.migrationId };
    await migrations.migrate(request);
    const { events: told } = await events.after(before.next, 5);
    expect(told.map((event) => [event.kind, 'migrationId' in event && event.migrationId])).to.deep.include([
      'migration-ended',
      row.migrationId,
    ]);
    await migrations.close();
  });

  it('begins nothing more when it closes', async () => {
    await migrations.close();
    const refused = await migrations.migrate(requestTo(host, testDomain(), false)).catch((error: unknown) => error);
    expect(refused).to.have.property('message').that.includes('stops');
  });
});
