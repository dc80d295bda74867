import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import { expect } from 'chai';
import type { SimulatedDomain } from '../../src/base/protocol/hypervisor-protocol.js';
import { connectHost } from '../../src/host/rpc/client.js';
import type { Found } from '../../src/host/service/domains.js';
import type { HostEvent, HostService } from '../../src/host/service/service.js';
import { oldCopyUuid, temporaryUuid } from '../../src/migrate/protocol.js';
import { migrate, openTestHost, outcomeOf, requestTo, type TestHost, testDomain } from '../support/hosts.js';

const secret = 'the secret of the pool';
const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail('it did not fail'),
    (error: unknown) => error as { code: string; params: readonly string[] },
  );

/** The same interface in process and over RPC. */
const ways: [way: string, reach: (host: TestHost) => HostService][] = [
  ['in process', (host) => host.engine.service],
  ['over RPC', (host) => connectHost(host.url, () => [secret])],
];

for (const [way, reach] of ways) {
  describe(`a host ${way}`, function () {
    this.timeout(30_000);
    let host: TestHost;
    let service: HostService;
    before(async () => {
      host = await openTestHost();
      service = reach(host);
    });
    after(() => host.close());
    afterEach(async () => {
      for (const { handle } of await host.simulator.list()) await host.simulator.destroy(handle);
    });

    it('says who it is, what memory it has and what runs on it', async () => {
      const [running, paused] = [testDomain(), testDomain()];
      await service.start(running, false);
      await service.start(paused, true);
      const state = await service.state();
      expect(state).to.include({ uuid: host.uuid, name: 'test-host', url: host.url, memoryTotal: 2 ** 31 });
      expect(state.memoryFree).to.equal(2 ** 31 - running.memoryBytes - paused.memoryBytes);
      expect(state.cpus).to.be.at.least(1);
      expect(state.domains.map(({ uuid, state: each }) => [uuid, each])).to.have.deep.members([
        [running.uuid, 'running'],
        [paused.uuid, 'paused'],
      ]);
    });

    it('does not tell of copies that are there only while a VM migrates', async () => {
      const spec = testDomain();
      const passing = [temporaryUuid(spec.uuid), oldCopyUuid(spec.uuid)];
      const { next } = await service.events(0, 0);
      for (const uuid of passing) await service.start({ ...spec, uuid }, true);
      expect((await service.state()).domains).to.deep.equal([]);
      for (const uuid of passing) await service.shutdown(uuid, false);
      await service.start(spec, true);
      const { events } = await service.events(next, 5);
      expect(new Set(events.map((event) => 'uuid' in event && event.uuid))).to.deep.equal(new Set([spec.uuid]));
    });

    it('starts, pauses, unpauses and shuts down, and says so in events', async () => {
      const { uuid, ...rest } = testDomain();
      let { next } = await service.events(0, 0);
      const heard: HostEvent[] = [];
      const hear = async (kind: HostEvent['kind'], state?: string) => {
        while (!heard.some((event) => event.kind === kind && (!('state' in event) || event.state === state))) {
          const answer = await service.events(next, 5);
          heard.push(...answer.events);
          next = answer.next;
        }
        heard.splice(0);
      };
      await service.start({ uuid, ...rest }, false);
      await hear('domain', 'running');
      await service.pause(uuid);
      await hear('domain', 'paused');
      await service.unpause(uuid);
      await hear('domain', 'running');
      await service.shutdown(uuid, true);
      await hear('domain-gone');
    });

    for (const runs of ['here', 'elsewhere'] as const) {
      it(`lets a copy in doubt not run until it is settled: ${runs}`, async () => {
        const { uuid, ...rest } = testDomain();
        const copyOf = async () => (await service.state()).domains.find((each) => each.uuid === uuid);
        await service.doubt(uuid, 'nobody is here');
        await service.start({ uuid, ...rest }, false);
        expect((await failureOf(service.forceSettlement(uuid, runs))).code).to.equal('OPERATION_NOT_ALLOWED');
        await service.doubt(uuid, 'an earlier reason');
        await service.doubt(uuid, 'it runs elsewhere');
        expect(await copyOf()).to.deep.include({ state: 'paused', inDoubt: 'it runs elsewhere' });
        for (const refused of [
          () => service.unpause(uuid),
          () => service.pause(uuid),
          () => service.shutdown(uuid, false),
          () => service.reboot({ uuid, ...rest }, false),
          () => service.suspend(uuid),
          () => service.start({ uuid, ...rest }, false),
        ]) {
          expect((await failureOf(refused())).params[0]).to.include('it runs elsewhere');
        }
        expect(await copyOf()).to.deep.include({ state: 'paused', inDoubt: 'it runs elsewhere' });
        await service.forceSettlement(uuid, runs);
        const copy = await copyOf();
        expect(copy && [copy.state, copy.inDoubt]).to.deep.equal(runs === 'here' ? ['running', undefined] : undefined);
        if (copy !== undefined) return;
        await service.forceSettlement(uuid, 'elsewhere');
        expect((await failureOf(service.forceSettlement(uuid, 'here'))).code).to.equal('OPERATION_NOT_ALLOWED');
      });
    }

    it('says what there is of VMs, and ends it for a pool that does not know them', async () => {
      const [running, suspended, given] = [testDomain({ vgpus: ['0'] }), testDomain(), testDomain()];
      const list = async () => JSON.parse(await service.callPlugin('domains', 'list', {})) as Found[];
      const destroy = (uuid: string) => service.callPlugin('domains', 'destroy', { uuid });
      for (const spec of [running, suspended, given]) await service.start(spec, false);
      await service.suspend(suspended.uuid);
      await service.doubt(given.uuid, 'given up');
      const [image, ...domains] = await list();
      expect(image).to.deep.equal({ uuid: suspended.uuid, state: 'suspended', spec: suspended });
      expect(domains.map(({ domid: _domid, ...rest }) => rest)).to.have.deep.members([
        { uuid: running.uuid, state: 'running', spec: running },
        { uuid: given.uuid, state: 'paused', spec: given, inDoubt: 'given up' },
      ]);
      for (const { uuid } of await list()) await destroy(uuid);
      await destroy(running.uuid);
      expect(await list()).to.deep.equal([]);
      expect((await service.state()).suspended).to.deep.equal([]);
      for (const [fn, code] of [
        ['adopt', 'XENAPI_PLUGIN_FAILURE'],
        ['destroy', 'INVALID_VALUE'],
      ] as const) {
        expect((await failureOf(service.callPlugin('domains', fn, {}))).code).to.equal(code);
      }
    });

    it('ends nothing that migrates', async () => {
      const spec = testDomain();
      const named = [temporaryUuid(spec.uuid), oldCopyUuid(spec.uuid)];
      for (const uuid of [spec.uuid, ...named]) await service.start({ ...spec, uuid }, true);
      await service.doubt(spec.uuid, 'migration 12 has no outcome');
      for (const uuid of [spec.uuid, ...named]) {
        const { code, params } = await failureOf(service.callPlugin('domains', 'destroy', { uuid }));
        expect([code, params[0]]).to.deep.equal(['OPERATION_NOT_ALLOWED', params[0]]);
        expect(params[0]).to.contain('left alone');
      }
      const list = JSON.parse(await service.callPlugin('domains', 'list', {})) as Found[];
      expect(list.map(({ uuid, held }) => [uuid, held])).to.deep.equal([[spec.uuid, 'migration 12 has no outcome']]);
    });

    it('does one thing with a VM at a time, in the order asked, and others meanwhile', async () => {
      const [one, other] = [testDomain(), testDomain()];
      await Promise.all([
        service.start(one, false),
        service.start(other, true),
        service.pause(one.uuid),
        service.unpause(other.uuid),
        service.unpause(one.uuid),
        service.shutdown(one.uuid, true),
      ]);
      expect((await service.state()).domains.map(({ uuid, state }) => [uuid, state])).to.deep.equal([
        [other.uuid, 'running'],
      ]);
    });

    it('keeps code and parameters of an error', async () => {
      const uuid = randomUUID();
      expect(await failureOf(service.pause(uuid))).to.deep.include({
        ...{ code: 'VM_BAD_POWER_STATE', params: [uuid, 'running', 'halted'] },
      });
      const big = testDomain({ memoryBytes: 2 ** 32 });
      expect(await failureOf(service.start(big, false))).to.have.property('code', 'HOST_NOT_ENOUGH_FREE_MEMORY');
      expect(await host.simulator.list()).to.deep.equal([]);
    });

    it('moves a VM to another host, tells of its progress, and remembers how it ended', async () => {
      const destination = await openTestHost();
      try {
        const spec = testDomain();
        await service.start(spec, false);
        const { next } = await service.events(0, 0);
        const request = requestTo(destination, spec, true);
        await service.migrate(request);
        await service.migrate(request);
        const outcome = await outcomeOf(host, request.migrationId);
        expect(outcome.status).to.equal('success');
        expect(await service.outcome(request.migrationId)).to.deep.equal(outcome);
        expect(await failureOf(service.cancel(request.migrationId))).to.have.property('code', 'OPERATION_NOT_ALLOWED');
        const { events } = await service.events(next, 0);
        const progress = events.flatMap((event) => (event.kind === 'migration-progress' ? [event.progress] : []));
        expect(progress).to.deep.equal(progress.toSorted((a, b) => a - b));
        expect(progress.at(0)).to.equal(0);
        expect(progress.at(-1)).to.be.within(0.9, 1);
        expect((await reach(destination).state()).domains.map(({ uuid }) => uuid)).to.deep.equal([spec.uuid]);
      } finally {
        await destination.close();
      }
    });

    it('gives the same reply to a VM.receive of the same id', async () => {
      const spec = testDomain();
      const { migrationId, metadata } = requestTo(host, spec, false);
      const reply = await service.receive({ migrationId, metadata });
      expect(await service.receive({ migrationId, metadata })).to.deep.equal(reply);
      expect(reply.control).to.equal(`${host.url}/services/xenops/migrate/vm/${temporaryUuid(spec.uuid)}`);
      expect(await host.engine.destination.settle(migrationId, reply.token)).to.equal('refused');
    });
  });
}

describe('a host over RPC', function () {
  this.timeout(30_000);
  let host: TestHost;
  before(async () => {
    host = await openTestHost();
  });
  after(() => host.close());

  it('serves nobody without the secret of the pool', async () => {
    for (const shown of ['', 'another secret', `${secret} `]) {
      const failure = await failureOf(connectHost(host.url, () => [shown]).state());
      expect(failure).to.have.property('code', 'SESSION_AUTHENTICATION_FAILED');
    }
  });

  it('ends the wait of its followers when it stops', async () => {
    const other = await openTestHost();
    const service = connectHost(other.url, () => [secret]);
    const { next } = await service.events(0, 0);
    const waiting = failureOf(service.events(next, 60));
    await service.state();
    await other.close();
    expect((await waiting).code).to.be.oneOf(['HOST_OFFLINE', 'INTERNAL_ERROR']);
    expect((await failureOf(service.state())).params.join()).to.match(/^state at http:.*ECONNREFUSED/);
  });

  it('says that the domains are gone when their hypervisor is lost, and starts others', async () => {
    const service = connectHost(host.url, () => [secret]);
    const spec = testDomain();
    await service.start(spec, false);
    const { next } = await service.events(0, 0);
    const [{ handle }] = (await host.simulator.list()) as [SimulatedDomain];
    process.kill(Number(fs.readFileSync(`${host.stateDir}/hypervisor.pid`, 'utf8')), 'SIGKILL');
    const { events } = await service.events(next, 30);
    expect(events).to.deep.include({ kind: 'domain-gone', uuid: spec.uuid });
    await service.start(spec, true);
    const [again] = (await host.simulator.list()) as [SimulatedDomain];
    expect(again.handle.instance).not.to.equal(handle.instance);
  });

  it('is left in order: a migration under way is stopped, and the VM runs on', async () => {
    const [source, destination] = [await openTestHost(), await openTestHost()];
    const spec = testDomain({ memoryBytes: 512 * 1024 * 1024 });
    await source.engine.service.start(spec, false);
    const request = requestTo(destination, spec, true);
    await source.engine.service.migrate(request);
    await source.engine.close();
    const outcome = await source.engine.service.outcome(request.migrationId);
    expect(outcome?.status).to.equal('failure');
    const [domain] = await source.simulator.list();
    expect(domain).to.include({ uuid: spec.uuid, state: 'running' });
    await source.close();
    await destination.close();
  });

  it('runs migrations there and back at once', async () => {
    const other = await openTestHost();
    const [here, there] = [testDomain(), testDomain()];
    await host.engine.service.start(here, false);
    await other.engine.service.start(there, false);
    const outcomes = await Promise.all([
      migrate(host, requestTo(other, here, true)),
      migrate(other, requestTo(host, there, true)),
    ]);
    expect(outcomes.map(({ status }) => status)).to.deep.equal(['success', 'success']);
    await other.close();
  });
});
