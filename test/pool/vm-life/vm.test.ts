import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { XapiError } from '../../../src/base/errors.js';
import { nullRef, recordWithDefaults } from '../../../src/model/value.js';
import { gib } from '../fake-host.js';
import { type Fixture, openFixture } from '../fixture.js';
import { ownVms } from '../own-vms.js';

describe('VM', () => {
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
  });
  afterEach(() => f.close());
  const vm = (ref: Ref<'VM'>) => f.pool.db.get('VM', ref);
  const handlers = () => f.pool.dispatch.handlers.VM;

  const settings = ['changing_dynamic_range', 'changing_static_range', 'changing_shadow_memory', 'changing_NVRAM'];
  const halted = ['start', 'start_on', 'migrate_send', 'destroy', 'clone', 'copy', 'make_into_template', ...settings];

  it('is created halted, with metrics, a uuid and what it allows', async () => {
    const ref = await f.createVm({ name_label: 'new', other_config: { a: 'b' }, tags: ['t'] });
    expect(vm(ref)).to.deep.include({
      name_label: 'new',
      power_state: 'Halted',
      other_config: { a: 'b', mac_seed: vm(ref).other_config.mac_seed },
      tags: ['t'],
    });
    expect(vm(ref)).to.deep.include({ domid: -1, resident_on: nullRef, domain_type: 'hvm' });
    expect(vm(ref).allowed_operations).to.have.members(halted);
    expect(f.pool.db.get('VM_metrics', vm(ref).metrics).state).to.deep.equal(['halted']);
  });

  const wrong: [string, Partial<RecordOf<'VM'>>, string[]][] = [
    ['limits out of order', { memory_dynamic_max: 2 * gib }, ['MEMORY_CONSTRAINT_VIOLATION_ORDER']],
    ['no virtual CPU', { VCPUs_max: 0 }, ['INVALID_VALUE', 'VCPUs_max', '0']],
    ['too many at startup', { VCPUs_at_startup: 2 }, ['INVALID_VALUE', 'VCPUs_at_startup', '2']],
  ];
  for (const [what, given, expected] of wrong) {
    it(`is not created with ${what}`, async () => {
      expect(await f.failure(() => f.createVm(given))).to.deep.equal(expected);
      expect(ownVms(f.pool.db)).to.deep.equal([]);
    });
  }

  it('goes through its life, with what it allows in each state', async () => {
    const ref = await f.createVm();
    const { start, pause, unpause, clean_shutdown, destroy } = handlers();
    await start(f.context(), ref, false, false);
    expect(vm(ref)).to.deep.include({ power_state: 'Running', resident_on: f.hostA, domid: 1, current_operations: {} });
    expect(f.a.started[0]).to.include({ uuid: vm(ref).uuid, memoryBytes: gib, vcpus: 1 });
    const { control_domain } = f.pool.db.get('host', f.hostA);
    expect(f.pool.db.get('host', f.hostA).resident_VMs).to.deep.equal([control_domain, ref]);
    const moving = ['pool_migrate', 'migrate_send'];
    const stopping = ['clean_shutdown', 'clean_reboot', 'hard_shutdown', 'hard_reboot', 'suspend'];
    const running = ['pause', 'changing_dynamic_range', ...stopping, ...moving];
    expect(vm(ref).allowed_operations).to.have.members(running);
    await pause(f.context(), ref);
    expect(vm(ref).power_state).to.equal('Paused');
    expect(vm(ref).allowed_operations).to.have.members(['unpause', 'hard_shutdown', 'hard_reboot', 'migrate_send']);
    await unpause(f.context(), ref);
    await clean_shutdown(f.context(), ref);
    expect(vm(ref)).to.deep.include({ power_state: 'Halted', resident_on: nullRef, domid: -1 });
    expect(f.pool.db.get('host', f.hostA).resident_VMs).to.deep.equal([control_domain]);
    const { metrics } = vm(ref);
    await destroy(f.context(), ref);
    expect([ownVms(f.pool.db), f.pool.db.find('VM_metrics', metrics)]).to.deep.equal([[], undefined]);
    expect(f.pool.db.count('VM_guest_metrics')).to.equal(0);
  });

  it('refuses what its state, its owner or another operation forbids', async () => {
    const ref = await f.createVm({ blocked_operations: { destroy: 'keep it' } });
    const { start, pause, destroy } = handlers();
    expect(await f.failure(() => pause(f.context(), ref))).to.deep.equal([
      'VM_BAD_POWER_STATE',
      ref,
      'running',
      'halted',
    ]);
    expect(await f.failure(() => destroy(f.context(), ref))).to.deep.equal(['OPERATION_BLOCKED', ref, 'keep it']);
    expect(vm(ref).allowed_operations).not.to.include('destroy');
    const template = await f.createVm({ is_a_template: true });
    expect(await f.failure(() => start(f.context(), template, false, false))).to.deep.equal([
      'VM_IS_TEMPLATE',
      template,
    ]);
    const task = f.task();
    const starting = start(f.context(task), ref, false, false);
    expect(vm(ref)).to.deep.include({ current_operations: { [task.ref]: 'start' }, allowed_operations: [] });
    const second = await f.failure(() => start(f.context(), ref, false, false));
    expect(second).to.deep.equal(['OTHER_OPERATION_IN_PROGRESS', 'VM', ref, 'start', task.ref]);
    await starting;
    const again = await f.failure(() => start(f.context(), ref, false, false));
    expect(again).to.deep.equal(['VM_BAD_POWER_STATE', ref, 'halted', 'running']);
  });

  it('starts where there is most memory, or where it belongs', async () => {
    const hostB = await f.joinB();
    f.b.memoryFree = 9 * gib;
    const [anywhere, home] = [await f.createVm(), await f.createVm({ affinity: f.hostA })];
    expect(await handlers().get_possible_hosts(f.context(), anywhere)).to.have.members([f.hostA, hostB]);
    await handlers().start(f.context(), anywhere, true, false);
    await handlers().start(f.context(), home, false, false);
    expect(vm(anywhere)).to.include({ resident_on: hostB, power_state: 'Paused' });
    expect(vm(home)).to.include({ resident_on: f.hostA, power_state: 'Running' });
  });

  it('says why no host can take it', async () => {
    const ref = await f.createVm();
    f.a.memoryFree = 5;
    const short = await f.failure(() => handlers().start(f.context(), ref, false, false));
    expect(short).to.deep.equal(['HOST_NOT_ENOUGH_FREE_MEMORY', String(gib), '5']);
    f.pool.db.update('host', f.hostA, { enabled: false });
    expect(await f.failure(() => handlers().start(f.context(), ref, false, false))).to.deep.equal([
      'NO_HOSTS_AVAILABLE',
    ]);
    const there = await f.failure(() => handlers().start_on(f.context(), ref, f.hostA, false, false));
    expect(there).to.deep.equal(['HOST_DISABLED', f.hostA]);
    expect(vm(ref)).to.deep.include({ power_state: 'Halted', current_operations: {} });
  });

  it('stays halted when its host fails to start it', async () => {
    const ref = await f.createVm();
    f.a.refuse = new XapiError('INTERNAL_ERROR', ['no hypervisor']);
    expect((await f.failure(() => handlers().start(f.context(), ref, false, false)))[1]).to.equal('no hypervisor');
    expect(vm(ref)).to.deep.include({ power_state: 'Halted', current_operations: {}, resident_on: nullRef });
    expect(vm(ref).scheduled_to_be_resident_on).to.equal(nullRef);
  });

  describe('devices', () => {
    const make = <C extends 'VIF' | 'VBD'>(cls: C, given: Partial<RecordOf<C>>): RecordOf<C> =>
      ({ ...recordWithDefaults(cls), ...given }) as RecordOf<C>;
    const network = () => f.pool.db.all('network')[0]![0];

    it('come and go with numbers of their own', async () => {
      const { VIF, VBD, VGPU } = f.pool.dispatch.handlers;
      const VM = await f.createVm();
      const first = await VIF.create(f.context(), make('VIF', { VM, network: network() }));
      const second = await VIF.create(f.context(), make('VIF', { VM, network: network(), MAC: '02:00:00:00:00:0A' }));
      expect([first, second].map((vif) => f.pool.db.get('VIF', vif).device)).to.deep.equal(['0', '1']);
      expect(f.pool.db.get('VIF', first)).to.include({ MAC_autogenerated: true });
      expect(f.pool.db.get('VIF', second)).to.include({ MAC_autogenerated: false, MAC: '02:00:00:00:00:0a' });
      const taken = await f.failure(() =>
        VIF.create(f.context(), make('VIF', { VM, network: network(), device: '1' })),
      );
      expect(taken).to.deep.equal(['DEVICE_ALREADY_EXISTS', '1']);
      const bad = await f.failure(() => VIF.create(f.context(), make('VIF', { VM, network: network(), MAC: 'x' })));
      expect(bad).to.deep.equal(['MAC_INVALID', 'x']);
      await VBD.create(f.context(), make('VBD', { VM, empty: true, type: 'CD', userdevice: 'autodetect' }));
      const disk = await f.failure(() => VBD.create(f.context(), make('VBD', { VM, type: 'Disk', VDI: nullRef })));
      expect(disk).to.deep.equal(['HANDLE_INVALID', 'VDI', nullRef]);
      await VGPU.create(f.context(), VM, nullRef, '0', {}, nullRef);
      await VGPU.destroy(f.context(), await VGPU.create(f.context(), VM, nullRef, '1', {}, nullRef));
      await handlers().start(f.context(), VM, false, false);
      expect(f.a.started[0]?.vgpus).to.deep.equal(['0']);
      expect(f.pool.db.get('VIF', first).currently_attached).to.equal(true);
      const running = await f.failure(() => VIF.destroy(f.context(), first));
      expect(running).to.deep.equal(['OPERATION_NOT_ALLOWED', 'the VIF is attached to a VM that is running']);
      await handlers().hard_shutdown(f.context(), VM);
      await VIF.destroy(f.context(), first);
      expect(vm(VM).VIFs).to.deep.equal([second]);
      await handlers().destroy(f.context(), VM);
      expect([f.pool.db.count('VIF'), f.pool.db.count('VBD'), f.pool.db.count('VGPU')]).to.deep.equal([0, 0, 0]);
    });

    it('keep their network', async () => {
      const { VIF, network: networks } = f.pool.dispatch.handlers;
      const args = recordWithDefaults('network') as RecordOf<'network'>;
      const own = await networks.create(f.context(), { ...args, name_label: 'own' });
      const vif = await VIF.create(f.context(), make('VIF', { VM: await f.createVm(), network: own }));
      expect(await f.failure(() => networks.destroy(f.context(), own))).to.deep.equal(['NETWORK_CONTAINS_VIF', vif]);
      expect((await f.failure(() => networks.destroy(f.context(), network())))[0]).to.equal('NETWORK_CONTAINS_PIF');
      await VIF.destroy(f.context(), vif);
      await networks.destroy(f.context(), own);
      expect(f.pool.db.find('network', own)).to.equal(undefined);
    });
  });
});
