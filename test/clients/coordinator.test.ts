import { once } from 'node:events';
import { expect } from 'chai';
import { login } from '../../src/cli/client/xapi-client.js';
import { createVm } from '../../src/cli/local-pool/local-vm.js';
import { type Clients, type Host, objectState, openClients, type Vm } from './harness.js';
import { type PoolOfTwo, startPoolOfTwo } from './pool-of-two.js';

describe("Xen Orchestra's client and the coordinator of a pool", function () {
  this.timeout(60_000);

  let pool: PoolOfTwo;
  let clients: Clients;

  before(async () => {
    clients = openClients();
    pool = await startPoolOfTwo();
  });

  after(async () => {
    await clients.close(async () => pool?.stop());
  });

  it('finds it from a member', async () => {
    const client = await clients.connect({ ...pool.credentials, url: pool.member.url });
    const hosts = await client.getAllRecords<Host>('host');
    expect(hosts.find(({ $ref }) => $ref === client.pool.master)?.name_label).to.equal('host1');
    expect(clients.warnings).to.deep.equal([]);
  });

  it('goes on after it was killed and started again, with every object, and hears of what changes then', async () => {
    const raw = await login(pool.credentials, 'test');
    const [host = ''] = await raw.call<string[]>('host.get_all');
    const { uuid } = await createVm(raw, { name: 'vm', memory: 8 * 1024 * 1024, host });
    const client = await clients.connect(pool.credentials);
    const { $ref, resident_on } = client.getObject<Vm>(uuid);
    const before = client.sessionId;

    const noticed = once(client, 'eventFetchingError');
    await Promise.all([pool.killCoordinator(), noticed]);
    const renewed = once(client, 'sessionId');
    await pool.startCoordinator();
    expect((await renewed)[0])
      .to.be.a('string')
      .that.is.not.equal(before);
    await client.objectsFetched;
    const { power_state, name_label } = await client.barrier<Vm>($ref);
    expect({ power_state, name_label }).to.deep.equal({ power_state: 'Running', name_label: 'vm' });
    expect(client.getObject<Vm>($ref).resident_on).to.equal(resident_on);

    const again = await login(pool.credentials, 'test');
    const changed = objectState<Vm>(client, 'VM', (vm) => vm.name_description === 'after the restart');
    await again.call('VM.set_name_description', $ref, 'after the restart');
    expect((await changed).$ref).to.equal($ref);
    await again.logout();
    await raw.logout();
  });
});
