import { expect } from 'chai';
import { nullRef } from '../../../src/model/value.js';
import { gib } from '../fake-host.js';
import { type Fixture, openFixture, uuidOf } from '../fixture.js';

describe('members', () => {
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
  });
  afterEach(() => f.close());
  const metrics = (host: typeof f.hostA) => f.pool.db.get('host_metrics', f.pool.db.get('host', host).metrics);

  it('begins with a pool of one host, whose records are whole', () => {
    const { db } = f.pool;
    const host = db.get('host', f.hostA);
    expect(host).to.deep.include({ name_label: 'a', address: '127.0.0.1', enabled: true });
    expect(host.software_version)
      .to.include({ xenferry: '0.0.0' })
      .and.to.include.keys('product_version', 'platform_version');
    expect(host.cpu_info).to.include({ cpu_count: '4' });
    expect(host.bios_strings).to.deep.equal({ 'bios-vendor': 'b', 'system-product-name': 'p', 'oem-1': 'Xen' });
    const [[, pool]] = db.all('pool') as [ReturnType<typeof db.all<'pool'>>[number]];
    expect(pool.master).to.equal(f.hostA);
    const pif = db.get('PIF', host.PIFs[0]!);
    expect(pif).to.deep.include({ IP: '127.0.0.1', management: true, currently_attached: true, host: f.hostA });
    expect(pif.ip_configuration_mode).to.equal('Static');
    expect(db.get('network', pif.network)).to.deep.include({ bridge: 'xenbr0', PIFs: host.PIFs });
    const pbd = db.get('PBD', host.PBDs[0]!);
    expect(pbd.currently_attached).to.equal(true);
    expect(db.get('SR', pbd.SR).PBDs).to.deep.equal(host.PBDs);
    expect(pool.default_SR).to.equal(pbd.SR);
    expect(metrics(f.hostA)).to.include({ live: true, memory_total: 16 * gib, memory_free: 8 * gib });
  });

  it('takes in a member, once, and knows it after a restart', async () => {
    const hostB = await f.joinB();
    expect(await f.joinB()).to.equal(hostB);
    const { db } = f.pool;
    expect([db.count('host'), db.count('PIF'), db.count('SR'), db.count('network'), db.count('pool')]).to.deep.equal([
      2, 2, 2, 1, 1,
    ]);
    expect(metrics(hostB).live).to.equal(true);
    f = await f.restart();
    await f.until(() => metrics(hostB).live);
    expect(f.pool.db.byUuid('host', uuidOf(2))).to.equal(hostB);
  });

  it('does not take in itself', async () => {
    const state = await f.a.service.state();
    expect(await f.failure(() => f.pool.join(state))).to.deep.equal(['INVALID_VALUE', 'host', state.uuid]);
  });

  it('shows when machine and daemon of a host have started, anew with each start', async () => {
    const hostB = await f.joinB();
    f.pool.db.putInMap('host', hostB, 'other_config', 'mine', 'kept');
    const times = (host: typeof hostB) => f.pool.db.get('host', host).other_config;
    const first = { boot_time: '1600000000.', agent_start_time: '1700000000.' };
    expect(times(f.hostA)).to.deep.include(first);
    expect(times(hostB)).to.deep.include(first);
    const { machine, ...state } = f.b.state();
    await f.pool.join({ ...state, startedAt: 1_700_000_009, machine: { ...machine!, bootTime: undefined } });
    expect(times(hostB)).to.deep.equal({ ...first, agent_start_time: '1700000009.', mine: 'kept' });
  });

  it('shows a host that does not answer as not live, leaves its VMs alone, and takes it back', async () => {
    const hostB = await f.joinB();
    const vm = await f.createVm();
    await f.pool.dispatch.handlers.VM.start_on(f.context(), vm, hostB, false, false);
    f.b.reachable = false;
    f.b.emit({ kind: 'domain-gone', uuid: 'wakes the poll' });
    await f.until(() => !metrics(hostB).live);
    expect(f.pool.db.get('VM', vm)).to.include({ power_state: 'Running', resident_on: hostB });
    const { pause } = f.pool.dispatch.handlers.VM;
    expect(await f.failure(() => pause(f.context(), vm))).to.deep.equal(['HOST_OFFLINE', hostB]);
    f.b.memoryFree = 3 * gib;
    f.b.reachable = true;
    await f.until(() => metrics(hostB).live);
    expect(metrics(hostB).memory_free).to.equal(3 * gib);
    expect(f.pool.db.get('VM', vm).power_state).to.equal('Running');
  });

  it('follows what happens to domains on their hosts', async () => {
    const vm = await f.runningVm();
    const { uuid } = f.pool.db.get('VM', vm);
    f.a.domain(uuid, 'paused');
    await f.until(() => f.pool.db.get('VM', vm).power_state === 'Paused');
    f.a.domain(uuid, undefined);
    await f.until(() => f.pool.db.get('VM', vm).power_state === 'Halted');
    expect(f.pool.db.get('VM', vm).resident_on).to.equal(nullRef);
    f.a.domain(uuid, 'running');
    await f.until(() => f.pool.db.get('VM', vm).power_state === 'Running');
    expect(f.pool.db.get('VM', vm)).to.include({ resident_on: f.hostA, domid: 2 });
    f.a.domain(uuid, 'shutdown');
    await f.until(() => f.pool.db.get('VM', vm).power_state === 'Halted');
  });

  it('follows the memory that starts, ends and migrations leave free', async () => {
    const free = () => metrics(f.hostA).memory_free;
    f.a.memoryFree = 5 * gib;
    const vm = await f.runningVm();
    await f.until(() => free() === 5 * gib);
    f.a.memoryFree = 6 * gib;
    await f.pool.dispatch.handlers.VM.hard_shutdown(f.context(), vm);
    await f.until(() => free() === 6 * gib);
    f.a.memoryFree = 7 * gib;
    f.a.emit({ kind: 'receive-ended', migrationId: 'some', taken: false });
    await f.until(() => free() === 7 * gib);
  });

  it('finds at its start what became of VMs meanwhile', async () => {
    const vm = await f.runningVm();
    const { uuid } = f.pool.db.get('VM', vm);
    await f.pool.close();
    f.a.domain(uuid, undefined);
    f = await f.restart();
    await f.until(() => f.pool.db.get('VM', vm).power_state === 'Halted');
    expect(f.pool.db.get('VM', vm).resident_on).to.equal(nullRef);
  });

  it('is told again and again of a member, which counts where it is not known', async () => {
    const again = () => f.pool.join(f.b.state(), true);
    const hostB = await again();
    expect(metrics(hostB).live).to.equal(true);
    await f.pool.dispatch.handlers.host.disable(f.context(), hostB, true);
    const generation = f.pool.db.modified('host', hostB);
    expect(await again()).to.equal(hostB);
    expect([f.pool.db.get('host', hostB).enabled, f.pool.db.modified('host', hostB)]).to.deep.equal([
      false,
      generation,
    ]);
  });

  it('takes no other host for one whose address that has now', async () => {
    const vm = await f.runningVm();
    f.b.reachable = false;
    const hostB = await f.pool.join({ ...f.b.state(), url: f.a.url });
    await f.until(() => !metrics(hostB).live);
    const { handlers } = f.pool.dispatch;
    expect(await handlers.pool.recover_slaves(f.context())).to.deep.equal([]);
    expect(await f.failure(() => handlers.VM.pool_migrate(f.context(), vm, hostB, {}))).to.deep.equal([
      'HOST_OFFLINE',
      hostB,
    ]);
    expect(f.a.doubted).to.deep.equal([]);
    expect(f.pool.db.get('VM', vm)).to.include({ power_state: 'Running', resident_on: f.hostA });
  });

  it('takes a host at another address once it does not answer at the old one', async () => {
    const hostB = await f.joinB();
    f.b.reachable = false;
    expect(await f.pool.join({ ...f.b.state(), url: 'http://127.0.0.1:8003' })).to.equal(hostB);
  });

  it('takes no second host with the uuid of one that answers, not even when that one is away for a while', async () => {
    const hostB = await f.joinB();
    const elsewhere = { ...f.b.state(), url: 'http://127.0.0.1:8003' };
    const [code, why] = await f.failure(() => f.pool.join(elsewhere));
    expect(code).to.equal('OPERATION_NOT_ALLOWED');
    expect(why).to.include(f.b.url).and.to.include(elsewhere.url).and.to.include(uuidOf(2));
    expect(metrics(hostB).live).to.equal(true);
    f.b.reachable = false;
    expect((await f.failure(() => f.pool.join(elsewhere)))[0]).to.equal('OPERATION_NOT_ALLOWED');
  });

  it('pauses a VM that runs where it is not meant to be', async () => {
    await f.joinB();
    const vm = await f.runningVm();
    const { uuid } = f.pool.db.get('VM', vm);
    f.b.domain(uuid, 'running');
    while (f.b.doubted.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(f.b.doubted.map(([marked]) => marked)).to.deep.equal([uuid]);
    expect(f.pool.db.get('VM', vm)).to.include({ power_state: 'Running', resident_on: f.hostA });
  });
});
