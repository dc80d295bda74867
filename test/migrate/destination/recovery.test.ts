import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { Simulator } from '../../../src/backend/simulator/simulator.js';
import { nullLog } from '../../../src/base/log.js';
import type { AttemptDeps } from '../../../src/migrate/destination/attempt.js';
import type { DestinationDeps } from '../../../src/migrate/destination/incoming.js';
import {
  createDestination,
  fullAnnouncement,
  type MigrationDestination,
} from '../../../src/migrate/destination/migrations.js';
import { createRendezvous } from '../../../src/migrate/destination/rendezvous.js';
import type { VmMetadata } from '../../../src/migrate/metadata.js';
import type { Peer } from '../../../src/migrate/peers.js';
import { type DestinationState, temporaryUuid } from '../../../src/migrate/protocol.js';
import type { DestinationRow, Journal } from '../../../src/xenops/journal.js';
import { createQueue } from '../../../src/xenops/queue.js';
import { openTestHost, type TestHost, testDomain } from '../../support/hosts.js';
import { testLimits } from '../../support/limits.js';
import { memoryJournal } from '../../support/memory-journal.js';
import { noFaults } from '../../support/no-faults.js';

type Row = DestinationRow<DestinationState>;

describe('A destination that starts anew', function () {
  this.timeout(30_000);
  let host: TestHost;
  let journal: Journal;
  let destination: MigrationDestination;
  let ended: [id: string, taken: boolean][];
  /** What the source says to `mayRun`; it does not answer where it is undefined. */
  let permission: unknown;
  /** How often the back end does not answer: what it is asked to reserve it has reserved. */
  let silent: { reserve: number; release: number };

  before(async () => {
    host = await openTestHost();
  });
  after(() => host.close());
  beforeEach(() => {
    journal = memoryJournal();
    ended = [];
    silent = { reserve: 0, release: 0 };
    const { simulator } = host;
    const answer = (op: keyof typeof silent) => {
      silent[op] -= 1;
      if (silent[op] >= 0) throw new Error(`no answer to ${op}`);
    };
    const backend: Simulator = {
      ...simulator,
      reserve: (key, bytes) => simulator.reserve(key, bytes).then(() => answer('reserve')),
      release: async (key) => {
        answer('release');
        await simulator.release(key);
      },
    };
    const peer = {
      mayRun: async () => permission ?? Promise.reject(new Error('the source is gone')),
    } as unknown as Peer;
    const never = () => expect.fail('no attempt begins here');
    const unused = { zstd: never, timeouts: never } as unknown as AttemptDeps;
    destination = createDestination({
      ...unused,
      backend,
      journal,
      rendezvous: createRendezvous(nullLog),
      faults: noFaults,
      queue: createQueue(4),
      limit: () => 4,
      limits: () => testLimits,
      peers: { at: () => peer },
      xenopsUrl: () => 'http://127.0.0.1:1',
      onEnded: (id, taken) => void ended.push([id, taken]),
      announce: fullAnnouncement,
      log: nullLog,
    } as DestinationDeps);
  });
  afterEach(async () => {
    await destination.close();
    for (const { handle } of await host.simulator.list()) await host.simulator.destroy(handle);
  });

  /** A row, and the domain as the attempt had it then. */
  async function leftBehind(state: DestinationState, sourceUrl?: string): Promise<Row> {
    const domain = testDomain({ memoryBytes: 1 << 20 });
    const migrationId = randomUUID();
    await host.simulator.reserve(migrationId, domain.memoryBytes);
    const created = state !== 'reserved';
    const temporary = { ...domain, uuid: temporaryUuid(domain.uuid) };
    const handle = created ? await host.simulator.create(temporary, migrationId) : undefined;
    if (handle !== undefined && state !== 'created') await host.simulator.build(handle);
    const request: VmMetadata = { version: 1, domain, vifs: [], ...(sourceUrl === undefined ? {} : { sourceUrl }) };
    const row: Row = {
      ...{ side: 'destination', migrationId, uuid: domain.uuid, temporaryUuid: temporary.uuid, state, token: 'token' },
      ...{ request, reply: {} },
      ...(handle === undefined ? {} : { handle }),
    };
    await journal.put(row);
    return row;
  }
  const domainOf = async ({ handle }: Row) =>
    (await host.simulator.list()).find((domain) => domain.handle.domid === handle?.domid);
  const stateOf = ({ migrationId }: Row) => journal.get('destination', migrationId)?.state;
  const untilEnded = async () => {
    while (ended.length === 0) await delay(5);
  };
  const isFree = async () => {
    const { total, free } = await host.simulator.memory();
    expect(free).to.equal(total);
  };

  for (const state of ['reserved', 'created', 'restored'] as const) {
    it(`refuses what was ${state}, and leaves nothing of it`, async () => {
      const row = await leftBehind(state);
      await destination.recover();
      expect(ended).to.deep.equal([[row.migrationId, false]]);
      expect(stateOf(row)).to.equal('refused');
      expect(await destination.settle(row.migrationId, 'token')).to.equal('refused');
      await isFree();
    });
  }

  for (const times of [0, 2]) {
    it(`promises no memory to a migration of which the source has not heard, the back end silent ${times} times more`, async () => {
      silent = { reserve: 1, release: times };
      const metadata: VmMetadata = { version: 1, domain: testDomain({ memoryBytes: 1 << 20 }), vifs: [] };
      const migrationId = randomUUID();
      const refused = await destination.receive({ migrationId, metadata }).catch((error: unknown) => error);
      expect(refused).to.have.property('message').that.includes('no answer to reserve');
      expect(destination.arriving()).to.deep.equal([]);
      if (times === 0) expect(journal.rows()).to.deep.equal([]);
      while (silent.release >= 0) await delay(5);
      await destination.close();
      await isFree();
    });
  }

  it('finds a domain that was made and not journaled', async () => {
    const { handle: _lost, ...row } = await leftBehind('created');
    await journal.put({ ...row, state: 'reserved' });
    await destination.recover();
    await isFree();
  });

  for (const state of ['taken', 'unpausing'] as const) {
    it(`asks the source about what was ${state} and never ran, and runs it where that says yes`, async () => {
      permission = 'yes';
      const row = await leftBehind(state, 'http://127.0.0.1:2');
      await destination.recover();
      await untilEnded();
      expect(ended).to.deep.equal([[row.migrationId, true]]);
      expect(await domainOf(row)).to.include({ uuid: row.uuid, state: 'running' });
      expect(await domainOf(row)).not.to.have.property('inDoubt');
      expect(stateOf(row)).to.equal('done');
    });

    it(`lets what was ${state} and never ran go where the source says no`, async () => {
      permission = 'no';
      const row = await leftBehind(state, 'http://127.0.0.1:2');
      await destination.recover();
      await untilEnded();
      expect(ended).to.deep.equal([[row.migrationId, false]]);
      expect(stateOf(row)).to.equal('refused');
      await isFree();
    });

    it(`does not run what was ${state} where the coordinator has given it up here`, async () => {
      permission = 'yes';
      const row = await leftBehind(state, 'http://127.0.0.1:2');
      await host.simulator.markInDoubt(row.handle as never, 'the VM was started elsewhere');
      await destination.recover();
      await delay(50);
      expect(await domainOf(row)).to.include({ state: 'paused', inDoubt: 'the VM was started elsewhere' });
      expect(ended).to.deep.equal([]);
      await destination.forceSettlement(row.uuid, 'here');
      expect(await domainOf(row)).to.include({ state: 'running' });
    });

    it(`is done with what was ${state} and ran`, async () => {
      const row = await leftBehind(state, 'http://127.0.0.1:2');
      await host.simulator.rename(row.handle as never, row.uuid);
      await host.simulator.unpause(row.handle as never, row.migrationId);
      await destination.recover();
      await untilEnded();
      expect(stateOf(row)).to.equal('done');
      expect(await domainOf(row)).to.include({ state: 'running' });
    });

    it(`is done with what was ${state} and is gone with its hypervisor`, async () => {
      const row = await leftBehind(state, 'http://127.0.0.1:2');
      await host.simulator.destroy(row.handle as never);
      await destination.recover();
      await untilEnded();
      expect(ended).to.deep.equal([[row.migrationId, true]]);
    });
  }

  for (const [what, answer, sourceUrl] of [
    ['the source does not answer', undefined, 'http://127.0.0.1:2'],
    ['the source does not know', 'unknown', 'http://127.0.0.1:2'],
    ['the source answers rubbish', { yes: true }, 'http://127.0.0.1:2'],
    ['the source has not said where it is', 'yes', undefined],
  ] as const) {
    describe(`and has taken what never ran, where ${what}`, () => {
      let row: Row;
      beforeEach(async () => {
        permission = answer;
        row = await leftBehind('taken', sourceUrl);
        await destination.recover();
        while ((await domainOf(row))?.inDoubt === undefined) await delay(5);
      });

      it('has it in doubt, paused, and answers taken', async () => {
        expect(await domainOf(row)).to.include({ state: 'paused' });
        expect(ended).to.deep.equal([]);
        expect(stateOf(row)).to.equal('taken');
        expect(await destination.settle(row.migrationId, 'token')).to.equal('taken');
        expect(destination.vmOf(row.handle as never)).to.equal(row.uuid);
      });

      it('is not told to forget it', async () => {
        const refused = await destination.acknowledge(row.migrationId, 'token').catch((error: unknown) => error);
        expect(refused).to.have.property('code', 'OTHER_OPERATION_IN_PROGRESS');
      });

      it('runs it when an operator says that it is here', async () => {
        expect(await destination.forceSettlement(row.uuid, 'here')).to.equal(true);
        expect(await domainOf(row)).to.include({ uuid: row.uuid, state: 'running' });
        expect(ended).to.deep.equal([[row.migrationId, true]]);
      });

      it('lets it go when an operator says that it is elsewhere', async () => {
        expect(await destination.forceSettlement(row.uuid, 'elsewhere')).to.equal(true);
        expect(await destination.settle(row.migrationId, 'token')).to.equal('refused');
        await isFree();
      });
    });
  }
});
