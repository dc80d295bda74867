import type { LookupFunction } from 'node:net';
import { expect } from 'chai';
import type { SimulatedSpec } from '../../../src/base/protocol/hypervisor-protocol.js';
import type { MigrateRequest } from '../../../src/migrate/request.js';
import { xenopsPath } from '../../../src/wire/connection/channel.js';
import { goesOn, migrate, openTestHost, requestTo, type TestHost, testDomain } from '../../support/hosts.js';
import { type NetworkProxy, openProxy } from '../../support/proxy.js';

describe('A migration whose caller says by which way it goes', function () {
  this.timeout(60_000);
  let source: TestHost;
  let destination: TestHost;
  let relay: NetworkProxy;
  let domain: SimulatedSpec;
  /** Names of which somebody has asked where they lead. */
  const asked: string[] = [];
  /** Every name leads to the first address of the loopback once, and then to another, where nobody listens. */
  const lookup: LookupFunction = (name, { all }, answer) => {
    const address = asked.length === 0 ? '127.0.0.1' : '127.0.0.9';
    asked.push(name);
    if (all === true) answer(null, [{ address, family: 4 }]);
    else answer(null, address, 4);
  };

  beforeEach(async () => {
    const options = { 'migration-step-timeout': '5' };
    asked.length = 0;
    [source, destination] = await Promise.all([openTestHost({ options, lookup }), openTestHost({ options })]);
    relay = await openProxy(destination.url);
    domain = testDomain({ memoryBytes: 8 << 20, vgpus: ['0'] });
    await source.engine.service.start(domain, false);
  });
  afterEach(async () => {
    await relay.close();
    await Promise.all([source.close(), destination.close()]);
  });

  const request = (way = relay.url): MigrateRequest => {
    const plain = requestTo(destination, domain, false);
    return { ...plain, destination: { ...plain.destination, xenops: `${way}${xenopsPath}` } };
  };
  /** Whether a connection was the control channel, or what there was of a kind of request. */
  const isControl = ({ request: line }: { readonly request: string }) => line.includes('/migrate/vm/');
  const runsThere = async () => {
    const [there] = await destination.simulator.list();
    expect(there).to.include({ uuid: domain.uuid, state: 'running' });
    expect(await source.simulator.list()).to.deep.equal([]);
  };
  /** Bytes on the control channel of a migration that is not disturbed, and the VM back where it was. */
  const undisturbed = async () => {
    expect((await migrate(source, request())).status).to.equal('success');
    const { to, from } = relay.passed.find(isControl) ?? { to: 0, from: 0 };
    for (const { handle } of await destination.simulator.list()) await destination.simulator.destroy(handle);
    await source.engine.service.start(domain, false);
    return { to, from };
  };

  it('takes every call and channel there, and tells nobody on the way the secret of the pool', async () => {
    expect((await migrate(source, request())).status).to.equal('success');
    await runsThere();
    const kinds = relay.passed.map(({ request: line }) => /^POST|\/migrate\/\w+/.exec(line)?.[0]);
    expect(kinds.filter((kind) => kind !== 'POST').sort()).to.deep.equal([
      '/migrate/mem',
      '/migrate/vgpu',
      '/migrate/vm',
    ]);
    expect(destination.heads).to.have.length(3);
    for (const method of ['VM.receive', 'digest', 'acknowledge']) expect(relay.carried(method), method).to.equal(true);
    expect(relay.carried('the secret of the pool')).to.equal(false);
    expect(relay.passed.find(({ request: line }) => line.includes('/migrate/mem/'))?.to).to.be.above(1 << 20);
  });

  it('goes where a name led when it was first asked, though the name leads elsewhere from then on', async () => {
    const way = `http://moving.example:${new URL(relay.url).port}`;
    expect((await migrate(source, request(way))).status).to.equal('success');
    await runsThere();
    expect(asked).to.deep.equal(['moving.example']);
    expect(relay.carried('VM.receive')).to.equal(true);
  });

  it('fails where a name leads nowhere, and the VM runs on', async () => {
    asked.push('moving.example');
    const outcome = await migrate(source, request(`http://moving.example:${new URL(relay.url).port}`));
    expect(outcome).to.have.deep.property('error', { code: 'CANNOT_CONTACT_HOST', params: ['moving.example'] });
    await goesOn(source, destination, domain);
  });

  it('fails where nobody listens there, and the VM runs on', async () => {
    const outcome = await migrate(source, request('http://127.0.0.1:1'));
    expect(outcome).to.have.deep.property('error', { code: 'CANNOT_CONTACT_HOST', params: ['127.0.0.1'] });
    await goesOn(source, destination, domain);
  });

  it('is refused where another host of the pool is there', async () => {
    const elsewhere = await openProxy(source.url);
    const outcome = await migrate(source, request(elsewhere.url));
    await elsewhere.close();
    expect(outcome).to.have.nested.property('error.code', 'SESSION_AUTHENTICATION_FAILED');
    await goesOn(source, destination, domain);
  });

  it('asks the destination itself where the way is gone before point 3 has passed: the VM runs on here', async () => {
    const { to } = await undisturbed();
    relay.damage({ channel: '/migrate/vm/', at: to - 1, how: 'down' });
    expect((await migrate(source, request())).status).to.equal('failure');
    await goesOn(source, destination, domain);
  });

  it('asks the destination itself where the way is gone before point 4 has passed: the VM runs there', async () => {
    const { from } = await undisturbed();
    relay.damage({ channel: '/migrate/vm/', at: from - 1, way: 'from', how: 'down' });
    expect((await migrate(source, request())).status).to.equal('success');
    await runsThere();
  });
});
