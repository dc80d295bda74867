import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { SimulatedSpec } from '../../../src/base/protocol/hypervisor-protocol.js';
import { type Side, steps } from '../../../src/migrate/protocol.js';
import { goesOn, migrate, openTestHost, requestTo, type TestHost, testDomain } from '../../support/hosts.js';
import { openDescriptors } from '../../wire/connection/connections.js';

describe('a migration that a fault rule breaks', function () {
  this.timeout(60_000);
  let hosts: Record<Side, TestHost>;
  let domain: SimulatedSpec;

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
    for (const side of ['source', 'destination'] as const) {
      hosts[side].configure({});
      await call(side, 'clear');
    }
  });

  /** Connections that are kept alive for calls are as many before as after. */
  async function noMoreThan(before: ReadonlySet<string>): Promise<void> {
    while (openDescriptors().size > before.size) await delay(10);
  }

  it('keeps a VM from being ended as unknown while it migrates, on both sides, and not after that', async () => {
    await call('source', 'add', { step: 'copy', side: 'source', vm: domain.uuid, action: 'stall' });
    const migration = migrate(hosts.source, requestTo(hosts.destination, domain, false));
    while (!JSON.stringify(await call('source', 'list')).includes('"fired":1')) await delay(10);
    const destroy = (side: Side, uuid: string) =>
      hosts[side].engine.service.callPlugin('domains', 'destroy', { uuid }).then(
        () => [],
        (error: { params: string[] }) => error.params,
      );
    for (const side of ['source', 'destination'] as const) {
      expect(await destroy(side, domain.uuid)).to.deep.equal([`domain ${domain.uuid} is left alone: it migrates`]);
    }
    const held = JSON.parse(await hosts.source.engine.service.callPlugin('domains', 'list', {}));
    expect(held).to.have.deep.nested.property('[0].held', 'it migrates');
    await call('source', 'clear');
    expect((await migration).status).to.equal('success');
    while ((await destroy('destination', domain.uuid)).length > 0) await delay(10);
    expect(await hosts.destination.simulator.list()).to.deep.equal([]);
    await hosts.source.engine.service.start(domain, false);
  });

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
        // Past the commit point the source hears only that the VM was refused.
        if (step !== '3') expect(JSON.stringify(outcome)).to.contain(`, ${side}: broken at ${step}`);
        expect(await call(side, 'list')).to.have.deep.nested.property('[0].fired', 1);
        await goesOn(hosts.source, hosts.destination, domain);
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
        await goesOn(hosts.source, hosts.destination, domain);
      });
    }
  }

  const broken: [compress: 'none' | 'stream' | 'xenguest', side: Side, args: Record<string, string>][] = [
    ['none', 'source', { step: 'prepare', action: 'cut', channel: 'control', how: 'reset' }],
    ['none', 'source', { step: 'copy', action: 'cut', channel: 'memory', how: 'reset', after: '100000' }],
    ['stream', 'source', { step: 'last round', action: 'cut', channel: 'memory', how: 'close' }],
    ['none', 'source', { step: '2', action: 'cut', channel: 'control', how: 'silent' }],
    ['none', 'source', { step: '1', action: 'cut', channel: 'control', how: 'slow' }],
    ['xenguest', 'source', { step: 'copy', action: 'corrupt', channel: 'memory', how: 'flip', after: '50000' }],
    ['stream', 'source', { step: 'copy', action: 'corrupt', channel: 'memory', how: 'truncate', after: '1000' }],
    ['none', 'source', { step: 'copy', action: 'corrupt', channel: 'memory', how: 'trailing' }],
    ['none', 'destination', { step: 'prepare', action: 'cut', channel: 'memory', how: 'close' }],
    ['stream', 'destination', { step: 'copy', action: 'corrupt', channel: 'memory', how: 'flip', after: '50000' }],
    ['none', 'destination', { step: 'copy', action: 'corrupt', channel: 'vgpu', how: 'trailing' }],
  ];
  for (const [compress, side, args] of broken) {
    it(`does not survive ${JSON.stringify(args)} at the ${side} (${compress}), and the VM runs on at the source`, async () => {
      const options = { 'migration-step-timeout': '2' };
      for (const host of Object.values(hosts)) host.configure(options);
      if (compress === 'xenguest') hosts.source.configure({ ...options, 'migration-compressor': compress });
      const before = openDescriptors();
      await call(side, 'add', { side, vm: domain.uuid, ...args });
      const outcome = await migrate(hosts.source, requestTo(hosts.destination, domain, compress !== 'none'));
      expect(outcome.status).to.equal('failure');
      expect(await call(side, 'list')).to.have.deep.nested.property('[0].fired', 1);
      await goesOn(hosts.source, hosts.destination, domain);
      await noMoreThan(before);
    });
  }

  it('passes a relay unharmed while its rule does not fire', async () => {
    await call('source', 'add', {
      step: 'copy',
      side: 'source',
      action: 'cut',
      channel: 'memory',
      how: 'reset',
      probability: '0',
    });
    await call('destination', 'add', {
      step: 'done',
      action: 'cut',
      channel: 'control',
      how: 'close',
      probability: '0',
    });
    const before = openDescriptors();
    const there = await migrate(hosts.source, requestTo(hosts.destination, domain, true));
    expect(there.status).to.equal('success');
    const digests = there.status === 'success' ? there.report.digests : undefined;
    expect(digests?.source).to.equal(digests?.destination);
    await noMoreThan(before);
    expect((await migrate(hosts.destination, requestTo(hosts.source, domain, false))).status).to.equal('success');
  });

  const afterCommit: [Side, Record<string, string>][] = [
    ['source', { step: 'run', action: 'cut', channel: 'control', how: 'silent' }],
    ['destination', { step: 'taken', action: 'cut', channel: 'control', how: 'close' }],
    ['destination', { step: '4', action: 'cut', channel: 'control', how: 'silent' }],
  ];
  for (const [side, args] of afterCommit) {
    it(`settles on what the destination has taken after ${JSON.stringify(args)} at the ${side}`, async () => {
      const { source, destination } = hosts;
      for (const host of [source, destination]) host.configure({ 'migration-step-timeout': '2' });
      await call(side, 'add', { side, ...args });
      source.log.records.length = 0;
      const outcome = await migrate(source, requestTo(destination, domain, false));
      expect(outcome.status).to.equal('success');
      expect(source.log.messages('warn').join()).to.contain('no point 4, settling');
      expect(await destination.simulator.list()).to.have.nested.property('[0].state', 'running');
      expect((await migrate(destination, requestTo(source, domain, false))).status).to.equal('success');
    });
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
