import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { XapiError } from '../../../src/base/errors.js';
import { nullRef, recordWithDefaults } from '../../../src/model/value.js';
import { report } from '../fake-host.js';
import type { Fixture } from '../fixture.js';
import { ownVms } from '../own-vms.js';
import { openTwoPools, type TwoPools } from '../two-pools.js';

const path = '/services/xenops';
const wrongXenops = [
  'http://127.0.0.1:8003',
  'http://127.0.0.1:8003/services/xenops/more',
  'http://127.0.0.1:8003/admin?x=/services/xenops',
  '127.0.0.1:8003',
  `https://127.0.0.1:8003${path}`,
  `http://a:b@127.0.0.1:8003${path}`,
  `http://127.0.0.1:0${path}`,
  `http://127.0.0.1:65536${path}`,
  `http://${path}`,
];

describe('a migration to another pool', () => {
  let pools: TwoPools;
  let here: Fixture;
  let there: Fixture;
  let vm: Ref<'VM'>;
  let vif: Ref<'VIF'>;

  beforeEach(async () => {
    pools = await openTwoPools();
    ({ here, there, vm, vif } = pools);
  });
  afterEach(async () => {
    await here.close();
    await there.close();
  });
  const networkThere = () => pools.networkThere();
  const destination = () => pools.destination();
  const asked = () => pools.asked();
  const send: TwoPools['send'] = (...args) => pools.send(...args);
  const receive: TwoPools['receive'] = (request) => pools.receive(request);

  it('begins with a destination that holds a session and URLs on its network', async () => {
    const dest = await destination();
    const { session_id: session = '' } = dest;
    const { isLocalSuperuser, roles, permissions } = there.pool.dispatch.sessions.use(session) ?? {};
    expect([isLocalSuperuser, roles]).to.deep.equal([false, []]);
    expect([...(permissions ?? [])]).to.deep.equal(['network.get_all', 'session.logout', 'vm.receive']);
    expect(there.pool.db.get('session', session as Ref<'session'>).rbac_permissions).to.have.members([
      ...(permissions ?? []),
    ]);
    expect(dest).to.deep.equal({
      SM: `http://127.0.0.1:8003/services/SM?session_id=${session}`,
      host: there.hostA,
      xenops: `http://127.0.0.1:8003/services/xenops?session_id=${session}`,
      session_id: session,
      master: 'http://127.0.0.1:8003',
    });
  });

  it('is refused a destination on a network that its host is not on, or without an address', async () => {
    const { db } = there.pool;
    const { migrate_receive } = there.pool.dispatch.handlers.host;
    const other = db.create('network', {});
    const [pif] = db.get('host', there.hostA).PIFs as [Ref<'PIF'>];
    const attempt = (network: Ref<'network'>) =>
      there.failure(() => migrate_receive(there.context(), there.hostA, network, {}));
    expect(await attempt(other)).to.deep.equal(['HOST_CANNOT_ATTACH_NETWORK', there.hostA, other]);
    db.update('PIF', pif, { IP: '' });
    expect(await attempt(networkThere())).to.deep.equal(['INTERFACE_HAS_NO_IP', pif]);
    db.update('PIF', pif, { ip_configuration_mode: 'None' });
    expect(await attempt(networkThere())).to.deep.equal(['PIF_HAS_NO_NETWORK_CONFIGURATION', pif]);
  });

  it('moves the record: it is made there before, and goes here after', async () => {
    const { uuid, metrics, guest_metrics } = here.pool.db.get('VM', vm);
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    expect(request.destination).to.deep.include({
      kind: 'foreign',
      hostRef: there.hostA,
      master: 'http://127.0.0.1:8003',
      xenops: 'http://127.0.0.1:8003/services/xenops',
    });
    const reply = await receive(request);
    const arriving = reply.vm as Ref<'VM'>;
    const row = () => there.pool.db.get('VM', arriving);
    expect(row()).to.deep.include({ uuid, name_label: 'mover', power_state: 'Halted', resident_on: nullRef });
    expect(row().other_config).to.deep.equal(here.pool.db.get('VM', vm).other_config);
    expect(row().other_config).to.include({ 'simulator:seed': '3' }).and.include.keys('mac_seed');
    expect(row().allowed_operations).to.deep.equal([]);
    const [newVif] = row().VIFs as [Ref<'VIF'>];
    expect(there.pool.db.get('VIF', newVif)).to.include({ network: networkThere(), MTU: 1400 });
    expect(there.a.received[0]?.metadata).not.to.have.property('records');
    expect((await receive(request)).vm).to.equal(arriving);
    expect(ownVms(there.pool.db)).to.deep.equal([arriving]);

    there.a.domain(uuid, 'running');
    await there.until(() => row().power_state === 'Running');
    here.a.domain(uuid, undefined);
    here.a.end(request.migrationId, { status: 'success', report: { ...report, vm: arriving } });
    expect(await call).to.equal(arriving);
    expect([
      ownVms(here.pool.db).length,
      here.pool.db.count('VIF'),
      here.pool.db.find('VM_metrics', metrics),
    ]).to.deep.equal([0, 0, undefined]);
    expect(here.pool.db.find('VM_guest_metrics', guest_metrics)).to.equal(undefined);
    await there.until(() => row().allowed_operations.includes('pause'));
    expect(row()).to.deep.include({ resident_on: there.hostA, current_operations: {} });
  });

  it('takes along what the record says of the VM, and its empty drives', async () => {
    const settings = {
      actions_after_crash: 'destroy',
      HVM_shadow_multiplier: 2.5,
      blocked_operations: { destroy: 'keep it' },
      ha_restart_priority: 'restart',
      start_delay: 5,
      shutdown_delay: 6,
      order: 7,
      tags: ['a b', '\u{1f600}'],
      platform: { ':(': '"(' },
    } as const;
    here.pool.db.update('VM', vm, { ...settings, tags: [...settings.tags] });
    const drive = { type: 'CD', mode: 'RO', empty: true, userdevice: '3', other_config: { a: 'b' } } as const;
    await here.pool.dispatch.handlers.VBD.create(here.context(), {
      ...(recordWithDefaults('VBD') as RecordOf<'VBD'>),
      ...drive,
      VM: vm,
    });
    const second = await here.pool.dispatch.handlers.VIF.create(here.context(), {
      ...(recordWithDefaults('VIF') as RecordOf<'VIF'>),
      VM: vm,
      network: here.pool.db.get('VIF', vif).network,
    });
    expect(here.pool.db.get('VIF', second).currently_attached).to.equal(false);
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    const arriving = (await receive(request)).vm as Ref<'VM'>;
    const { VBDs, ...row } = there.pool.db.get('VM', arriving);
    expect(row).to.deep.include(settings);
    expect(VBDs.map((vbd) => there.pool.db.get('VBD', vbd))).to.have.length(1);
    expect(there.pool.db.get('VBD', VBDs[0]!)).to.deep.include({ ...drive, VDI: nullRef });
    there.a.domain(row.uuid, 'running');
    await there.until(() => there.pool.db.get('VM', arriving).power_state === 'Running');
    const attached = row.VIFs.map((ref) => there.pool.db.get('VIF', ref).currently_attached);
    expect(attached, 'one was unplugged').to.have.members([true, false]);
    expect(there.pool.db.get('VBD', VBDs[0]!).currently_attached).to.equal(false);
    here.a.end(request.migrationId, { status: 'success', report: { ...report, vm: arriving } });
    await call;
    expect(here.pool.db.count('VBD')).to.equal(0);
  });

  it('takes a paused VM, when the host says that it has arrived', async () => {
    const { uuid } = here.pool.db.get('VM', vm);
    await here.pool.dispatch.handlers.VM.pause(here.context(), vm);
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    expect(request.metadata.paused).to.equal(true);
    const arriving = (await receive(request)).vm as Ref<'VM'>;
    there.a.domain(uuid, 'paused');
    there.a.emit({ kind: 'receive-ended', migrationId: request.migrationId, taken: true });
    await there.until(() => there.pool.db.get('VM', arriving).allowed_operations.includes('unpause'));
    here.a.end(request.migrationId, { status: 'success', report: { ...report, vm: arriving } });
    await call;
  });

  it('finds a paused VM that it took while its coordinator did not hear the host', async () => {
    const { uuid } = here.pool.db.get('VM', vm);
    await here.pool.dispatch.handlers.VM.pause(here.context(), vm);
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    const arriving = (await receive(request)).vm as Ref<'VM'>;
    const record = () => there.pool.db.get('VM', arriving);
    there.a.arriving.push(uuid);
    there.a.domain(uuid, 'paused');
    there = await there.restart();
    expect(record().current_operations).to.deep.equal({ [request.migrationId]: 'migrate_send' });
    there.a.arriving.splice(0);
    there = await there.restart();
    await there.until(() => record().allowed_operations.includes('unpause'));
    expect(record()).to.deep.include({ resident_on: there.hostA, power_state: 'Paused', current_operations: {} });
    here.a.end(request.migrationId, { status: 'success', report: { ...report, vm: arriving } });
    await call;
  });

  it('leaves no record there when it does not take, and the one here', async () => {
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    await receive(request);
    there.a.emit({ kind: 'receive-ended', migrationId: request.migrationId, taken: false });
    await there.until(() => ownVms(there.pool.db).length === 0);
    expect(there.pool.db.count('VIF')).to.equal(0);
    here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
    expect(await here.failure(() => call)).to.deep.equal(['VM_MIGRATE_FAILED']);
    expect(here.pool.db.get('VM', vm)).to.deep.include({ power_state: 'Running', VIFs: [vif] });
  });

  it('leaves no record there when the host there refuses', async () => {
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    there.a.refuse = new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', ['2', '1']);
    expect((await there.failure(() => receive(request)))[0]).to.equal('HOST_NOT_ENOUGH_FREE_MEMORY');
    expect(ownVms(there.pool.db)).to.deep.equal([]);
    here.a.end(request.migrationId, { status: 'failure', error: { code: 'HOST_NOT_ENOUGH_FREE_MEMORY', params: [] } });
    await here.failure(() => call);
  });

  it('makes no record there as long as the host there is too busy', async () => {
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    const changed: string[] = [];
    const stop = there.pool.db.onChange((cls) => void changed.push(cls));
    there.a.busy = true;
    for (const _ of [1, 2]) expect(await there.failure(() => receive(request))).to.deep.equal(['TOO_BUSY']);
    stop();
    expect(changed).not.to.include('VM');
    expect(there.a.received).to.deep.equal([]);
    there.a.busy = false;
    await receive(request);
    here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
    await here.failure(() => call);
  });

  it('keeps one record for a second attempt, whatever is told of the first', async () => {
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    const first = await receive(request);
    const again = { ...request, migrationId: 'second' };
    expect((await receive(again)).vm).to.equal(first.vm);
    there.a.emit({ kind: 'receive-ended', migrationId: request.migrationId, taken: false });
    there.a.emit({ kind: 'receive-ended', migrationId: 'second', taken: false });
    await there.until(() => ownVms(there.pool.db).length === 0);
    here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
    await here.failure(() => call);
  });

  it('is refused there for a VM that is there already, or a network that is not', async () => {
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    const strange = { ...request.metadata.vifs[0]!, network: 'OpaqueRef:none' };
    const elsewhere = { ...request, metadata: { ...request.metadata, vifs: [strange] } };
    expect(await there.failure(() => receive(elsewhere))).to.deep.equal([
      'HANDLE_INVALID',
      'network',
      'OpaqueRef:none',
    ]);
    const existing = there.pool.db.create('VM', { uuid: request.uuid });
    expect(await there.failure(() => receive(request))).to.deep.equal(['DUPLICATE_VM', existing]);
    here.a.end(request.migrationId, { status: 'failure', error: { code: 'DUPLICATE_VM', params: [existing] } });
    expect((await here.failure(() => call))[0]).to.equal('DUPLICATE_VM');
  });

  for (const master of ['http://127.0.0.1:8003/', 'http://127.0.0.1:8003/jsonrpc', '127.0.0.1:8003']) {
    it(`asks the server that ${master} names`, async () => {
      const call = send({ [vif]: networkThere() }, { ...(await destination()), master });
      const request = await asked();
      expect(request.destination).to.deep.include({ kind: 'foreign', master: 'http://127.0.0.1:8003' });
      here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
      await here.failure(() => call);
    });
  }

  it('is refused there for a VM whose seed of MAC addresses another VM has', async () => {
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    const { mac_seed = '' } = here.pool.db.get('VM', vm).other_config;
    const twin = await there.createVm({ other_config: { mac_seed } });
    expect(await there.failure(() => receive(request))).to.deep.equal(['DUPLICATE_MAC_SEED', mac_seed]);
    expect(ownVms(there.pool.db)).to.deep.equal([twin]);
    await there.pool.dispatch.handlers.VM.destroy(there.context(), twin);
    await receive(request);
    expect(ownVms(there.pool.db)).to.have.length(1);
    here.a.end(request.migrationId, { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } });
    await here.failure(() => call);
  });

  it('ejects the CD in a drive', async () => {
    const SR = here.pool.db.all('SR')[0]![0];
    const VDI = here.pool.db.create('VDI', { SR, read_only: true });
    here.pool.db.create('VBD', { VM: vm, VDI, empty: false, type: 'CD', mode: 'RO', userdevice: '3' });
    const call = send({ [vif]: networkThere() });
    const request = await asked();
    const arriving = (await receive(request)).vm as Ref<'VM'>;
    const [drive] = there.pool.db.get('VM', arriving).VBDs;
    expect(there.pool.db.get('VBD', drive!)).to.include({ type: 'CD', empty: true, VDI: nullRef, userdevice: '3' });
    here.a.domain(request.uuid, undefined);
    here.a.end(request.migrationId, { status: 'success', report: { ...report, vm: arriving } });
    await call;
    expect(here.pool.db.get('VDI', VDI).VBDs).to.deep.equal([]);
  });

  for (const [key, url] of [
    ['master', 'https://127.0.0.1:8003'],
    ['xenops', `https://127.0.0.1:8003${path}`],
  ] as const) {
    it(`is refused with a word for https, where dest:${key} is of that`, async () => {
      const dest = { ...(await destination()), [key]: url };
      const refused = await send({ [vif]: networkThere() }, dest).catch((error: unknown) => error);
      expect(refused).to.be.instanceOf(XapiError).with.property('cause').that.contains('https is not spoken');
      expect(here.a.migrations).to.deep.equal([]);
    });
  }

  it('is refused here, the same by the call that only asks, for what is not mapped or does not migrate', async () => {
    const { db, dispatch } = here.pool;
    const { assert_can_migrate } = dispatch.handlers.VM;
    const both = async (vifMap: Record<string, Ref<'network'>>, dest: Record<string, string>): Promise<string[]> => {
      const checked = await here.failure(() => assert_can_migrate(here.context(), vm, dest, true, {}, vifMap, {}, {}));
      expect(await here.failure(() => send(vifMap, dest))).to.deep.equal(checked);
      return checked;
    };
    const dest = await destination();
    const map = { [vif]: networkThere() };
    expect(await both({}, dest)).to.deep.equal(['VIF_NOT_IN_MAP', vif]);
    for (const master of ['ftp://x', 'https://127.0.0.1:8003', 'http://127.0.0.1:port', 'http://a@127.0.0.1:8003']) {
      expect(await both(map, { ...dest, master })).to.deep.equal(['INVALID_VALUE', 'dest:master', master]);
    }
    expect((await both(map, { host: dest.host! }))[1]).to.equal('dest:xenops');
    for (const xenops of wrongXenops) {
      expect(await both(map, { ...dest, xenops })).to.deep.equal(['INVALID_VALUE', 'dest:xenops', xenops]);
    }
    expect((await both(map, { ...dest, host: here.hostA }))[0]).to.equal('OPERATION_NOT_ALLOWED');
    const SR = db.all('SR')[0]![0];
    db.create('VBD', { VM: vm, VDI: db.create('VDI', { SR }), type: 'Disk' });
    expect((await both(map, dest)).slice(0, 2)).to.deep.equal(['SR_DOES_NOT_SUPPORT_MIGRATION', SR]);
    expect(here.a.migrations).to.deep.equal([]);
  });

  for (const live of [true, false]) {
    it(`moves a VM that runs whatever \`live\` says, and says before that it would: ${live}`, async () => {
      const { assert_can_migrate, migrate_send } = here.pool.dispatch.handlers.VM;
      const dest = await destination();
      const map = { [vif]: networkThere() };
      await assert_can_migrate(here.context(), vm, dest, live, {}, map, {}, {});
      const call = migrate_send(here.context(), vm, dest, live, {}, map, {}, {}, {});
      const { migrationId, uuid } = await asked();
      here.a.domain(uuid, undefined);
      here.a.end(migrationId, { status: 'success', report: { ...report, vm: 'OpaqueRef:moved' } });
      expect(await call).to.equal('OpaqueRef:moved');
    });
  }
});
