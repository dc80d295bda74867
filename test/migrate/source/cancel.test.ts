import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { SimulatedSpec } from '../../../src/base/protocol/hypervisor-protocol.js';
import { type Side, steps } from '../../../src/migrate/protocol.js';
import { openTestHost, outcomeOf, requestTo, type TestHost, testDomain } from '../../support/hosts.js';

/** The product promises that a cancel before the commit point ends so soon. */
const promisedMs = 5_000;

describe('A migration that is cancelled', function () {
  this.timeout(30_000);
  let hosts: Record<Side, TestHost>;
  let domain: SimulatedSpec;

  before(async () => {
    const options = { 'fault-injection': 'true', 'worker-pool-size': '1' };
    const [source, destination] = await Promise.all([openTestHost({ options }), openTestHost({ options })]);
    hosts = { source, destination };
  });
  after(() => Promise.all([hosts.source.close(), hosts.destination.close()]));
  beforeEach(async () => {
    domain = testDomain({ memoryBytes: 8 << 20, vgpus: ['0'] });
    await hosts.source.engine.service.start(domain, false);
  });
  afterEach(async () => {
    for (const host of Object.values(hosts)) {
      await host.engine.service.callPlugin('fault', 'clear', {});
      for (const { handle } of await host.simulator.list()) await host.simulator.destroy(handle);
    }
  });

  async function stallAt(side: Side, step: string): Promise<void> {
    await hosts[side].engine.service.callPlugin('fault', 'add', { side, step, action: 'stall' });
  }
  async function stalled(side: Side): Promise<void> {
    for (;;) {
      const rules = JSON.parse(await hosts[side].engine.service.callPlugin('fault', 'list', {})) as { fired: number }[];
      if (rules[0]?.fired === 1) return;
      await delay(5);
    }
  }
  const cancel = (id: string) => hosts.source.engine.service.cancel(id);
  async function goesOn(): Promise<void> {
    const domains = await hosts.source.simulator.list();
    expect(domains.find(({ uuid }) => uuid === domain.uuid)).to.include({ state: 'running' });
    expect(await hosts.destination.simulator.list()).to.deep.equal([]);
    expect(await promised()).to.equal(0);
  }
  async function promised(): Promise<number> {
    const { total, free } = await hosts.destination.simulator.memory();
    return total - free;
  }

  const upTo = (names: readonly string[], last: string) => names.slice(0, names.indexOf(last) + 1);
  const beforeCommit: [Side, readonly string[]][] = [
    ['source', upTo(steps.source, 'going')],
    ['destination', upTo(steps.destination, '2-restored')],
  ];
  for (const [side, names] of beforeCommit) {
    for (const step of names) {
      it(`at ${step} of the ${side}, twice, ends as such, with the VM at the source and nothing at the destination`, async () => {
        await stallAt(side, step);
        const request = requestTo(hosts.destination, domain, true);
        await hosts.source.engine.service.migrate(request);
        await stalled(side);
        await Promise.all([cancel(request.migrationId), cancel(request.migrationId)]);
        const outcome = await outcomeOf(hosts.source, request.migrationId);
        expect(outcome).to.deep.equal({
          status: 'cancelled',
          error: { code: 'TASK_CANCELLED', params: [request.task] },
        });
        // A destination that has not answered VM.receive yet is told when it has.
        if (side === 'destination' && step === 'prepare') {
          await hosts.destination.engine.service.callPlugin('fault', 'clear', {});
          while ((await promised()) > 0) await delay(5);
        }
        await goesOn();
      }).timeout(promisedMs + 2_000);
    }
  }

  for (const [side, names] of [
    ['source', ['3', 'run', '4', 'clean-up']],
    ['destination', ['taken', 'unpausing', '4']],
  ] as const) {
    for (const step of names) {
      it(`at ${step} of the ${side}, past the commit point, is not: the call is refused, the VM moves`, async () => {
        await stallAt(side, step);
        const request = requestTo(hosts.destination, domain, false);
        await hosts.source.engine.service.migrate(request);
        await stalled(side);
        const refused = await cancel(request.migrationId).catch((error: unknown) => error);
        expect(refused)
          .to.have.property('message')
          .that.matches(/^OPERATION_NOT_ALLOWED .*commit point/);
        await hosts[side].engine.service.callPlugin('fault', 'clear', {});
        expect(await outcomeOf(hosts.source, request.migrationId)).to.have.property('status', 'success');
      });
    }
  }

  it('while another one has the only worker ends at once, and never begins', async () => {
    const other = testDomain({ memoryBytes: 8 << 20 });
    await hosts.source.engine.service.start(other, false);
    await stallAt('source', 'copy');
    const ahead = requestTo(hosts.destination, other, false);
    await hosts.source.engine.service.migrate(ahead);
    await stalled('source');
    const request = requestTo(hosts.destination, domain, false);
    await hosts.source.engine.service.migrate(request);
    await cancel(request.migrationId);
    expect(await outcomeOf(hosts.source, request.migrationId)).to.have.property('status', 'cancelled');
    await hosts.source.engine.service.callPlugin('fault', 'clear', {});
    expect(await outcomeOf(hosts.source, ahead.migrationId)).to.have.property('status', 'success');
    const asked = hosts.destination.heads.some(({ cookies }) => cookies.migration_id === request.migrationId);
    expect(asked).to.equal(false);
  });

  it('when it has ended is told so', async () => {
    const request = requestTo(hosts.destination, domain, false);
    await hosts.source.engine.service.migrate(request);
    await outcomeOf(hosts.source, request.migrationId);
    const refused = await cancel(request.migrationId).catch((error: unknown) => error);
    expect(refused)
      .to.have.property('message')
      .that.matches(/^OPERATION_NOT_ALLOWED .*has ended/);
  });
});
