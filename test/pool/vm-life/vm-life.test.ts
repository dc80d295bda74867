import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { XapiError } from '../../../src/base/errors.js';
import { nullRef, recordWithDefaults } from '../../../src/model/value.js';
import { gib } from '../fake-host.js';
import { type Fixture, openFixture } from '../fixture.js';

describe('the life of a VM', () => {
  let f: Fixture;
  let vm: Ref<'VM'>;
  beforeEach(async () => {
    f = await openFixture();
    vm = await f.runningVm();
  });
  afterEach(() => f.close());
  const handlers = () => f.pool.dispatch.handlers.VM;
  const row = () => f.pool.db.get('VM', vm);
  const metrics = () => f.pool.db.get('VM_metrics', row().metrics);

  it('goes on after a suspend where its memory is', async () => {
    const hostB = await f.joinB();
    const started = metrics().start_time;
    await handlers().suspend(f.context(), vm);
    expect(row()).to.deep.include({
      power_state: 'Suspended',
      resident_on: nullRef,
      domid: -1,
      current_operations: {},
    });
    const suspended = ['resume', 'resume_on', 'migrate_send', 'hard_shutdown', 'destroy'];
    expect(row().allowed_operations).to.have.members(suspended);
    expect(metrics()).to.deep.include({ memory_actual: 0, state: ['suspended'] });
    expect(await handlers().get_possible_hosts(f.context(), vm)).to.deep.equal([f.hostA]);
    const [code, why] = await f.failure(() => handlers().resume_on(f.context(), vm, hostB, false, false));
    expect(code).to.equal('OPERATION_NOT_ALLOWED');
    expect(why).to.match(/was suspended on host a .* can be resumed there alone/);
    expect((await f.failure(() => handlers().assert_can_boot_here(f.context(), vm, hostB)))[0]).to.equal(code);
    await handlers().assert_can_boot_here(f.context(), vm, f.hostA);
    await handlers().resume(f.context(), vm, true, false);
    expect(row()).to.include({ power_state: 'Paused', resident_on: f.hostA });
    expect(metrics()).to.deep.include({ memory_actual: gib, state: ['paused'], start_time: started });
    await handlers().unpause(f.context(), vm);
    await handlers().suspend(f.context(), vm);
    await handlers().resume_on(f.context(), vm, f.hostA, false, false);
    expect(row()).to.include({ power_state: 'Running' });
  });

  it('has a guest that tells the addresses of its VIFs', async () => {
    await handlers().hard_shutdown(f.context(), vm);
    const [[network]] = f.pool.db.all('network') as [[Ref<'network'>, unknown]];
    const args = { ...(recordWithDefaults('VIF') as RecordOf<'VIF'>), VM: vm, network, device: '3' };
    await f.pool.dispatch.handlers.VIF.create(f.context(), { ...args, MAC: '02:16:3e:0a:ff:07' });
    await handlers().start(f.context(), vm, false, false);
    const networks = () => f.pool.db.get('VM_guest_metrics', row().guest_metrics).networks;
    const third = {
      '3/ip': '169.254.2.7',
      '3/ipv4/0': '169.254.2.7',
      '3/ipv6/0': 'fe80::16:3eff:fe0a:ff07',
    };
    expect(networks()).to.deep.equal(third);
    const { VIF } = f.pool.dispatch.handlers;
    const other = await VIF.create(f.context(), { ...args, device: '1', MAC: '02:16:3e:0a:00:09' });
    expect(networks()).to.deep.equal(third);
    await VIF.plug(f.context(), other);
    expect(networks()).to.include({ ...third, '1/ip': '169.254.1.9' });
    await VIF.unplug(f.context(), f.pool.db.get('VM', vm).VIFs.find((vif) => vif !== other)!);
    expect(Object.keys(networks())).to.deep.equal(['1/ip', '1/ipv4/0', '1/ipv6/0']);
    await handlers().suspend(f.context(), vm);
    await handlers().resume(f.context(), vm, false, false);
    expect(Object.keys(networks())).to.deep.equal(['1/ip', '1/ipv4/0', '1/ipv6/0']);
  });

  it('needs memory to go on', async () => {
    await handlers().suspend(f.context(), vm);
    f.a.memoryFree = 7;
    expect(await f.failure(() => handlers().resume(f.context(), vm, false, false))).to.deep.equal([
      'HOST_NOT_ENOUGH_FREE_MEMORY',
      String(gib),
      '7',
    ]);
    expect(row()).to.deep.include({ power_state: 'Suspended', scheduled_to_be_resident_on: nullRef });
  });

  it('runs on when it cannot be suspended', async () => {
    f.a.refuse = new XapiError('SR_SUSPEND_SPACE_INSUFFICIENT', ['/here']);
    expect(await f.failure(() => handlers().suspend(f.context(), vm))).to.deep.equal([
      'SR_SUSPEND_SPACE_INSUFFICIENT',
      '/here',
    ]);
    expect(row()).to.deep.include({ power_state: 'Running', resident_on: f.hostA });
  });

  it('is suspended still after a restart of the coordinator, and where that has missed the suspend', async () => {
    await handlers().suspend(f.context(), vm);
    const missed = await f.runningVm({ name_label: 'missed' });
    await f.a.service.suspend(f.pool.db.get('VM', missed).uuid);
    await f.until(() => f.pool.db.get('VM', missed).power_state === 'Suspended');
    f = await f.restart();
    for (const ref of [vm, missed]) {
      expect(f.pool.db.get('VM', ref).power_state).to.equal('Suspended');
      await handlers().resume(f.context(), ref, false, false);
      expect(f.pool.db.get('VM', ref)).to.include({ power_state: 'Running', resident_on: f.hostA });
    }
  });

  it('says which host it waits for when no other has its memory', async () => {
    const hostB = await f.joinB();
    await handlers().suspend(f.context(), vm);
    await f.a.service.shutdown(row().uuid, false);
    f.b.reachable = false;
    const calls = [
      () => handlers().resume(f.context(), vm, false, false),
      () => handlers().hard_shutdown(f.context(), vm),
      () => handlers().destroy(f.context(), vm),
    ];
    for (const call of calls) expect(await f.failure(call)).to.deep.equal(['HOST_OFFLINE', hostB]);
    expect(await handlers().get_possible_hosts(f.context(), vm)).to.deep.equal([]);
    f.b.reachable = true;
    expect(await f.failure(() => handlers().resume(f.context(), vm, false, false))).to.deep.equal([
      'VM_HAS_NO_SUSPEND_VDI',
      vm,
    ]);
    await handlers().hard_shutdown(f.context(), vm);
    expect(row().power_state).to.equal('Halted');
  });

  for (const message of ['hard_shutdown', 'shutdown', 'destroy', 'power_state_reset'] as const) {
    it(`leaves no memory behind when it is suspended and ${message} comes`, async () => {
      await handlers().suspend(f.context(), vm);
      expect(f.a.state().suspended).to.deep.equal([row().uuid]);
      await handlers()[message](f.context(), vm);
      expect(f.a.state().suspended).to.deep.equal([]);
      if (message === 'destroy') expect(f.pool.db.find('VM', vm)).to.equal(undefined);
      else expect(row()).to.include({ power_state: 'Halted', guest_metrics: nullRef });
    });
  }

  for (const message of ['clean_reboot', 'hard_reboot'] as const) {
    it(`begins anew with ${message}, as another domain`, async () => {
      const { domid } = row();
      const { start_time } = metrics();
      await new Promise((resolve) => setTimeout(resolve, 2));
      await handlers()[message](f.context(), vm);
      expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA });
      expect(row().domid).to.be.above(domid);
      expect(metrics().start_time.getTime()).to.be.above(start_time.getTime());
      f.a.refuse = new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', ['2', '1']);
      const failed = await f.failure(() => handlers()[message](f.context(), vm));
      expect(failed).to.deep.equal(['HOST_NOT_ENOUGH_FREE_MEMORY', '2', '1']);
      expect(row()).to.include({ power_state: 'Halted', resident_on: nullRef });
    });
  }

  it('has a guest that tells of itself while it has a domain or an image', async () => {
    const guest = f.pool.db.get('VM_guest_metrics', row().guest_metrics);
    expect(guest).to.include({ PV_drivers_detected: true, live: true, can_use_hotplug_vif: 'yes' });
    const ref = row().guest_metrics;
    await handlers().suspend(f.context(), vm);
    expect(row().guest_metrics).to.equal(ref);
    await handlers().resume(f.context(), vm, false, false);
    expect(row().guest_metrics).to.equal(ref);
    await handlers().clean_shutdown(f.context(), vm);
    expect(f.pool.db.count('VM_guest_metrics')).to.equal(0);
  });

  describe('that is reset', () => {
    const reset = () => f.failure(() => handlers().power_state_reset(f.context(), vm));

    it('is refused while its host answers and has its domain', async () => {
      expect(await reset()).to.deep.equal(['DOMAIN_EXISTS', vm, String(row().domid)]);
      await handlers().pause(f.context(), vm);
      expect((await reset())[0]).to.equal('DOMAIN_EXISTS');
      const { control_domain } = f.pool.db.get('host', f.hostA);
      expect(await f.failure(() => handlers().power_state_reset(f.context(), control_domain))).to.deep.equal([
        'CANNOT_RESET_CONTROL_DOMAIN',
        control_domain,
      ]);
    });

    it('is halted where its host is gone', async () => {
      const hostB = await f.joinB();
      const there = await f.createVm();
      await handlers().start_on(f.context(), there, hostB, false, false);
      f.b.reachable = false;
      f.b.emit({ kind: 'domain-gone', uuid: 'none' });
      const { metrics: hostMetrics } = f.pool.db.get('host', hostB);
      await f.until(() => !f.pool.db.get('host_metrics', hostMetrics).live);
      await handlers().power_state_reset(f.context(), there);
      expect(f.pool.db.get('VM', there)).to.include({ power_state: 'Halted', resident_on: nullRef });
      await handlers().start(f.context(), there, false, false);
      expect(f.pool.db.get('VM', there)).to.include({ power_state: 'Running', resident_on: f.hostA });
    });
  });

  it('honours what its owner has blocked, in every message', async () => {
    const messages = {
      pause: 'pause',
      suspend: 'suspend',
      clean_shutdown: 'clean_shutdown',
      hard_shutdown: 'hard_shutdown',
      shutdown: 'shutdown',
      clean_reboot: 'clean_reboot',
      hard_reboot: 'hard_reboot',
      power_state_reset: 'power_state_reset',
    } as const;
    for (const [message, operation] of Object.entries(messages) as [keyof typeof messages, 'pause'][]) {
      f.pool.db.update('VM', vm, { blocked_operations: { [operation]: 'not today' } });
      expect(await f.failure(() => handlers()[message](f.context(), vm)), message).to.deep.equal([
        'OPERATION_BLOCKED',
        vm,
        'not today',
      ]);
      expect(row().allowed_operations).not.to.include(operation);
    }
    f.pool.db.update('VM', vm, { blocked_operations: { changing_dynamic_range: 'no' } });
    const memory = await f.failure(() => handlers().set_memory_dynamic_range(f.context(), vm, gib, gib));
    expect(memory).to.deep.equal(['OPERATION_BLOCKED', vm, 'no']);
  });

  it('answers whether an operation would be accepted', async () => {
    await handlers().assert_operation_valid(f.context(), vm, 'suspend');
    const valid = (operation: 'start' | 'csvm') =>
      f.failure(() => handlers().assert_operation_valid(f.context(), vm, operation));
    expect(await valid('start')).to.deep.equal(['VM_BAD_POWER_STATE', vm, 'halted', 'running']);
    expect(await valid('csvm')).to.deep.equal(['NOT_IMPLEMENTED', 'csvm']);
  });

  describe('of a control domain', () => {
    const dom0 = () => f.pool.db.get('host', f.hostA).control_domain;

    it('is that of its host, and nobody changes it', async () => {
      const record = f.pool.db.get('VM', dom0());
      expect(record).to.deep.include({
        name_label: 'Control domain on host: a',
        is_control_domain: true,
        is_a_template: false,
        power_state: 'Running',
        resident_on: f.hostA,
        domid: 0,
        VCPUs_max: 4,
        allowed_operations: [],
      });
      for (const message of ['pause', 'suspend', 'hard_shutdown', 'clean_reboot'] as const) {
        expect(await f.failure(() => handlers()[message](f.context(), dom0()))).to.deep.equal([
          'OPERATION_NOT_ALLOWED',
          `${message}: Control domain on host: a is a control domain`,
        ]);
      }
      const destroyed = await f.failure(() => handlers().destroy(f.context(), dom0()));
      expect(destroyed[0]).to.equal('VM_BAD_POWER_STATE');
      const moved = await f.failure(() => handlers().pool_migrate(f.context(), dom0(), f.hostA, {}));
      expect(moved[0]).to.equal('OPERATION_NOT_ALLOWED');
    });

    it('is one for each host, and the same after a restart', async () => {
      const hostB = await f.joinB();
      const [a, b] = [dom0(), f.pool.db.get('host', hostB).control_domain];
      f = await f.restart();
      await f.joinB();
      const controls = f.pool.db.all('VM').filter(([, { is_control_domain }]) => is_control_domain);
      expect(controls.map(([ref]) => ref)).to.have.members([a, b]);
      expect(f.pool.db.get('VM', a).power_state).to.equal('Running');
    });
  });
});
