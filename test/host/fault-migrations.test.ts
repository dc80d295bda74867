import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { DomainSpec } from '../../src/base/hypervisor-protocol.js';
import { type Side, steps } from '../../src/migrate/protocol.js';
import { migrate, openTestHost, requestTo, type TestHost, testDomain } from '../support/hosts.js';

describe('a migration that a fault rule breaks', function () {
  this.timeout(60_000);
  let hosts: Record<Side, TestHost>;
  let domain: DomainSpec;

  before(async () => {
    const options = { 'fault-injection': 'true' };
    const [source, destination] = await Promise.all([openTestHost({ options }), openTestHost({ options })]);
    hosts = { source, destination };
    domain = testDomain({ memoryBytes: 8 << 20, vgpus: ['0'] });
    await source.engine.service.start(domain, false);
  });
  after(() => Promise.all([hosts.source.close(), hosts.destination.close()]));

  const call = async (side: Side, fn: string, args: Record<string, string> = {}): Promise<unknown> =>
    JSON.parse(await hosts[side].engine.service.callPlugin('fault', fn, args));

  afterEach(async () => {
    for (const side of ['source', 'destination'] as const) await call(side, 'clear');
  });

  /** The VM runs at the source as if nothing had been, nothing is left at the destination. */
  async function goesOn(): Promise<void> {
    const { source, destination } = hosts;
    const [here, ...more] = await source.simulator.list();
    expect(more).to.deep.equal([]);
    expect(here).to.include({ uuid: domain.uuid, state: 'running' });
    if (here !== undefined) expect(await source.simulator.verify(here.handle)).to.include({ badPages: 0 });
    expect(await destination.simulator.list()).to.deep.equal([]);
    const { total, free } = await destination.simulator.memory();
    expect(free).to.equal(total);
  }

  const upTo = (names: readonly string[], last: string) => names.slice(0, names.indexOf(last) + 1);
  const beforeCommit: [Side, readonly string[]][] = [
    ['source', upTo(steps.source, 'going')],
    ['destination', upTo(steps.destination, '3')],
  ];
  for (const [side, names] of beforeCommit) {
    for (const step of names) {
      it(`fails at ${step} of the ${side}, and the VM runs on at the source`, async () => {
        await call(side, 'add', { step, side, vm: domain.uuid, action: 'fail', message: `broken at ${step}` });
        const outcome = await migrate(hosts.source, requestTo(hosts.destination, domain, false));
        expect(outcome.status).to.equal('failure');
        if (side === 'source') expect(JSON.stringify(outcome)).to.contain(`broken at ${step}`);
        expect(await call(side, 'list')).to.have.deep.nested.property('[0].fired', 1);
        await goesOn();
      });
    }
  }

  for (const side of ['source', 'destination'] as const) {
    for (const target of ['emu-manager', 'zstd'] as const) {
      it(`loses ${target} of the ${side} in the copy, and the VM runs on at the source`, async () => {
        await call(side, 'add', { step: 'copy', side, action: 'kill', target });
        const outcome = await migrate(hosts.source, requestTo(hosts.destination, domain, true));
        expect(outcome.status).to.equal('failure');
        expect(await call(side, 'list')).to.have.deep.nested.property('[0].fired', 1);
        await goesOn();
      });
    }
  }

  it('stalls until the rule is cleared, and then goes on to its end', async () => {
    await call('source', 'add', { step: 'last round', action: 'stall' });
    const request = requestTo(hosts.destination, domain, false);
    const ended = migrate(hosts.source, request);
    const reached = async () => ((await call('source', 'list')) as { reached: number }[])[0]?.reached;
    while ((await reached()) !== 1) await delay(5);
    await call('source', 'clear');
    expect((await ended).status).to.equal('success');
    expect((await migrate(hosts.destination, requestTo(hosts.source, domain, false))).status).to.equal('success');
  });
});
