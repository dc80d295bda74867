import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { nullRef, recordWithDefaults } from '../../../src/model/value.js';
import { type Fixture, openFixture } from '../fixture.js';

describe('devices of VMs', () => {
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
  });
  afterEach(() => f.close());
  const handlers = () => f.pool.dispatch.handlers;
  const make = <C extends 'VIF' | 'VBD' | 'VDI' | 'network'>(cls: C, given: Partial<RecordOf<C>>) =>
    ({ ...(recordWithDefaults(cls) as RecordOf<C>), ...given }) as RecordOf<C>;
  const network = () => f.pool.db.all('network')[0]![0];
  const vif = (ref: Ref<'VIF'>) => f.pool.db.get('VIF', ref);
  const vbd = (ref: Ref<'VBD'>) => f.pool.db.get('VBD', ref);
  const localSr = (host = f.hostA) => f.pool.db.get('PBD', f.pool.db.get('host', host).PBDs[0]!).SR;
  const disk = (given: Partial<RecordOf<'VDI'>> = {}) =>
    handlers().VDI.create(f.context(), make('VDI', { SR: localSr(), virtual_size: 4096, type: 'user', ...given }));
  const makeVif = (VM: Ref<'VM'>, given: Partial<RecordOf<'VIF'>> = {}) =>
    handlers().VIF.create(f.context(), make('VIF', { VM, network: network(), ...given }));
  const makeVbd = (VM: Ref<'VM'>, given: Partial<RecordOf<'VBD'>> = {}) =>
    handlers().VBD.create(f.context(), make('VBD', { VM, userdevice: 'autodetect', mode: 'RO', ...given }));

  describe('VIFs', () => {
    it('are attached and allow what fits, from start to halt', async () => {
      const { start, pause, suspend, resume, unpause, clean_shutdown } = handlers().VM;
      const vm = await f.createVm();
      const ref = await makeVif(vm);
      const shows = (attached: boolean, ...operations: string[]) => {
        expect(vif(ref).currently_attached).to.equal(attached);
        expect(vif(ref).allowed_operations).to.have.members(['attach', ...operations]);
      };
      shows(false);
      await start(f.context(), vm, false, false);
      shows(true, 'unplug');
      await pause(f.context(), vm);
      shows(true);
      await unpause(f.context(), vm);
      await suspend(f.context(), vm);
      shows(true);
      await resume(f.context(), vm, false, false);
      shows(true, 'unplug');
      await handlers().VIF.unplug(f.context(), ref);
      shows(false, 'plug');
      await pause(f.context(), vm);
      await unpause(f.context(), vm);
      shows(false, 'plug');
      await handlers().VM.hard_reboot(f.context(), vm);
      shows(true, 'unplug');
      await clean_shutdown(f.context(), vm);
      shows(false);
    });

    it('come to a running VM and go from it', async () => {
      const vm = await f.runningVm();
      const { VIF } = handlers();
      const ref = await makeVif(vm);
      expect(vif(ref)).to.include({ currently_attached: false, device: '0' });
      expect(await f.failure(() => VIF.unplug(f.context(), ref))).to.deep.equal(['DEVICE_ALREADY_DETACHED', ref]);
      await VIF.plug(f.context(), ref);
      expect(vif(ref)).to.deep.include({ currently_attached: true, current_operations: {} });
      expect(await f.failure(() => VIF.plug(f.context(), ref))).to.deep.equal(['DEVICE_ALREADY_ATTACHED', ref]);
      expect((await f.failure(() => VIF.destroy(f.context(), ref)))[0]).to.equal('OPERATION_NOT_ALLOWED');
      await VIF.unplug_force(f.context(), ref);
      await VIF.destroy(f.context(), ref);
      expect(f.pool.db.get('VM', vm).VIFs).to.deep.equal([]);
      const halted = await makeVif(await f.createVm());
      const { VM } = vif(halted);
      expect(await f.failure(() => VIF.plug(f.context(), halted))).to.deep.equal([
        'VM_BAD_POWER_STATE',
        VM,
        'running',
        'halted',
      ]);
    });

    it('show the operation that runs on them, and wait for those on their VM', async () => {
      const vm = await f.runningVm();
      const ref = await makeVif(vm);
      const task = f.task();
      const plugging = handlers().VIF.plug(f.context(task), ref);
      expect(vif(ref)).to.deep.include({ current_operations: { [task.ref]: 'plug' }, allowed_operations: [] });
      await plugging;
      f.pool.db.putInMap('VM', vm, 'current_operations', 'OpaqueRef:t', 'pool_migrate');
      expect(vif(ref).allowed_operations).to.deep.equal(['attach']);
      for (const call of [
        () => handlers().VIF.unplug(f.context(), ref),
        () => makeVif(vm),
        () => handlers().VIF.move(f.context(), ref, network()),
      ]) {
        expect(await f.failure(call)).to.deep.equal([
          'OTHER_OPERATION_IN_PROGRESS',
          'VM',
          vm,
          'pool_migrate',
          'OpaqueRef:t',
        ]);
      }
      f.pool.db.removeFromMap('VM', vm, 'current_operations', 'OpaqueRef:t');
      expect(vif(ref).allowed_operations).to.have.members(['attach', 'unplug']);
    });

    it('move to another network, if the host of their VM is on it', async () => {
      const vm = await f.runningVm();
      const ref = await makeVif(vm);
      await handlers().VIF.plug(f.context(), ref);
      const own = await handlers().network.create(f.context(), make('network', { name_label: 'own' }));
      await handlers().VIF.move(f.context(), ref, own);
      expect(vif(ref)).to.include({ network: own, currently_attached: true });
      const far = await handlers().network.create(f.context(), make('network', { name_label: 'far' }));
      f.pool.db.create('PIF', { network: far, host: await f.joinB(), currently_attached: true });
      expect(await f.failure(() => handlers().VIF.move(f.context(), ref, far))).to.deep.equal([
        'HOST_CANNOT_ATTACH_NETWORK',
        f.hostA,
        far,
      ]);
      const second = await makeVif(vm, { network: far });
      expect(await f.failure(() => handlers().VIF.plug(f.context(), second))).to.deep.equal([
        'VM_REQUIRES_NETWORK',
        vm,
        far,
      ]);
    });

    it('name addresses that are addresses', async () => {
      const { VIF } = handlers();
      const ref = await makeVif(await f.createVm());
      await VIF.set_ipv4_allowed(f.context(), ref, ['10.0.0.1', '10.0.0.1']);
      await VIF.add_ipv4_allowed(f.context(), ref, '10.0.0.2');
      await VIF.set_ipv6_allowed(f.context(), ref, ['fe80::1']);
      await VIF.add_ipv6_allowed(f.context(), ref, 'fe80::2');
      expect(vif(ref)).to.deep.include({
        ipv4_allowed: ['10.0.0.1', '10.0.0.2'],
        ipv6_allowed: ['fe80::1', 'fe80::2'],
      });
      const wrong: [call: () => unknown, field: string][] = [
        [() => VIF.set_ipv4_allowed(f.context(), ref, ['fe80::1']), 'ipv4_allowed'],
        [() => VIF.add_ipv6_allowed(f.context(), ref, '10.0.0.1'), 'ipv6_allowed'],
      ];
      for (const [call, field] of wrong) {
        expect(await f.failure(call)).to.deep.equal(['INVALID_IP_ADDRESS_SPECIFIED', field]);
      }
    });
  });

  describe('VBDs', () => {
    it('have a name in the guest while they are attached', async () => {
      const vm = await f.createVm();
      const first = await makeVbd(vm, { VDI: await disk(), mode: 'RW', type: 'Disk' });
      const far = await makeVbd(vm, { VDI: await disk(), mode: 'RW', type: 'Disk', userdevice: '27' });
      expect(vbd(first)).to.include({ device: '', currently_attached: false });
      await handlers().VM.start(f.context(), vm, false, false);
      expect([vbd(first).device, vbd(far).device]).to.deep.equal(['xvda', 'xvdab']);
      expect(vbd(first).allowed_operations).to.have.members(['attach', 'unplug', 'unplug_force']);
      await handlers().VBD.unplug(f.context(), first);
      expect(vbd(first)).to.include({ device: '', currently_attached: false });
      expect(vbd(first).allowed_operations).to.have.members(['attach', 'plug']);
      await handlers().VBD.plug(f.context(), first);
      await handlers().VBD.unplug_force(f.context(), first);
      f.pool.db.update('VBD', far, { unpluggable: false });
      expect(await f.failure(() => handlers().VBD.unplug(f.context(), far))).to.deep.equal([
        'VBD_NOT_UNPLUGGABLE',
        far,
      ]);
      await handlers().VBD.destroy(f.context(), first);
      expect((await f.failure(() => handlers().VBD.destroy(f.context(), far)))[0]).to.equal('OPERATION_NOT_ALLOWED');
      await handlers().VM.hard_shutdown(f.context(), vm);
      expect(vbd(far)).to.include({ device: '', currently_attached: false });
    });

    it('take and give CDs, while the VM runs as well', async () => {
      const vm = await f.createVm();
      const [cd, disc] = [await makeVbd(vm, { type: 'CD', empty: true }), await disk({ read_only: true })];
      const { VBD } = handlers();
      expect(vbd(cd).allowed_operations).to.have.members(['attach', 'insert']);
      await VBD.insert(f.context(), cd, disc);
      expect(vbd(cd)).to.include({ VDI: disc, empty: false });
      expect(await f.failure(() => VBD.insert(f.context(), cd, disc))).to.deep.equal(['VBD_NOT_EMPTY', cd]);
      await handlers().VM.start(f.context(), vm, false, false);
      expect((await f.failure(() => VBD.unplug(f.context(), cd)))[0]).to.equal('OPERATION_NOT_ALLOWED');
      await VBD.eject(f.context(), cd);
      expect(vbd(cd)).to.include({ VDI: nullRef, empty: true });
      expect(await f.failure(() => VBD.eject(f.context(), cd))).to.deep.equal(['VBD_IS_EMPTY', cd]);
      await handlers().VM.suspend(f.context(), vm);
      expect((await f.failure(() => VBD.insert(f.context(), cd, disc)))[0]).to.equal('VM_BAD_POWER_STATE');
      const hard = await makeVbd(await f.createVm(), { VDI: await disk(), type: 'Disk', mode: 'RW' });
      expect(await f.failure(() => VBD.eject(f.context(), hard))).to.deep.equal(['VBD_NOT_REMOVABLE_MEDIA', hard]);
    });

    it('of one disk that is written to are attached to one VM', async () => {
      const VDI = await disk();
      const [one, other] = [await f.createVm(), await f.createVm()];
      await makeVbd(one, { VDI, mode: 'RW', type: 'Disk' });
      const second = await makeVbd(other, { VDI, mode: 'RO', type: 'Disk' });
      await handlers().VM.start(f.context(), one, false, false);
      expect(vbd(second).allowed_operations).to.deep.equal([]);
      const start = () => f.failure(() => handlers().VM.start(f.context(), other, false, false));
      expect(await start()).to.deep.equal(['VDI_IN_USE', VDI, 'attach']);
      expect((await f.failure(() => handlers().VBD.assert_attachable(f.context(), second)))[0]).to.equal('VDI_IN_USE');
      f.pool.db.update('VDI', VDI, { sharable: true });
      await handlers().VBD.assert_attachable(f.context(), second);
      f.pool.db.update('VDI', VDI, { sharable: false });
      await handlers().VM.hard_shutdown(f.context(), one);
      expect(await start()).to.deep.equal([]);
    });

    it('of one disk may be on one VM twice, and go one by one', async () => {
      const [VDI, vm] = [await disk(), await f.createVm()];
      const both = [
        await makeVbd(vm, { VDI, mode: 'RW', type: 'Disk' }),
        await makeVbd(vm, { VDI, mode: 'RW', type: 'Disk' }),
      ] as const;
      await handlers().VBD.destroy(f.context(), both[0]);
      expect(f.pool.db.get('VDI', VDI).VBDs).to.deep.equal([both[1]]);
      expect(f.pool.db.get('VM', vm).VBDs).to.deep.equal([both[1]]);
      await makeVbd(vm, { VDI, mode: 'RW', type: 'Disk' });
      await handlers().VM.destroy(f.context(), vm);
      expect(f.pool.db.get('VDI', VDI).VBDs).to.deep.equal([]);
    });

    it('are plugged whatever other disks of the VM its host does not have', async () => {
      const [hostB, vm] = [await f.joinB(), await f.runningVm()];
      const [reached, elsewhere] = [await disk(), await disk({ SR: localSr(hostB) })];
      const ref = await makeVbd(vm, { VDI: reached, type: 'Disk', unpluggable: true });
      const other = await makeVbd(vm, { VDI: elsewhere, type: 'Disk' });
      await handlers().VBD.plug(f.context(), ref);
      const refused = ['VM_REQUIRES_SR', vm, localSr(hostB)];
      expect(await f.failure(() => handlers().VBD.plug(f.context(), other))).to.deep.equal(refused);
      expect(await f.failure(() => handlers().VM.hard_reboot(f.context(), vm))).to.deep.equal(refused);
      await handlers().VBD.destroy(f.context(), other);
      await handlers().VBD.unplug(f.context(), ref);
      const second = await f.createVm();
      await makeVbd(second, { VDI: reached, mode: 'RW', type: 'Disk' });
      await handlers().VM.start(f.context(), second, false, false);
      expect(await f.failure(() => handlers().VM.clean_reboot(f.context(), vm))).to.deep.equal([
        'VDI_IN_USE',
        reached,
        'attach',
      ]);
      expect(vbd(ref).currently_attached).to.equal(false);
    });

    const wrong: [what: string, given: Partial<RecordOf<'VBD'>>, error: string][] = [
      ['a CD that is written to', { type: 'CD', empty: true, mode: 'RW' }, 'VBD_CDS_MUST_BE_READONLY'],
      ['an empty disk', { type: 'Disk', empty: true }, 'INVALID_VALUE'],
      ['a device that there is not', { type: 'CD', empty: true, userdevice: 'cdrom' }, 'INVALID_DEVICE'],
      ['a device past the last', { type: 'CD', empty: true, userdevice: '256' }, 'INVALID_DEVICE'],
    ];
    for (const [what, given, error] of wrong) {
      it(`are not made for ${what}`, async () => {
        const vm = await f.createVm();
        expect((await f.failure(() => makeVbd(vm, given)))[0]).to.equal(error);
        expect(f.pool.db.get('VM', vm).VBDs).to.deep.equal([]);
      });
    }

    it('have the number or the name that they were made with, and the guest its own name for it', async () => {
      const vm = await f.createVm();
      const cd = { type: 'CD', empty: true } as const;
      const asked = ['xvda', '1', 'hdc', 'd3', 'd27p2', 'sda', 'autodetect'];
      const made = await Promise.all(asked.map((userdevice) => makeVbd(vm, { ...cd, userdevice })));
      expect(made.map((ref) => vbd(ref).userdevice)).to.deep.equal([...asked.slice(0, -1), '4']);
      for (const userdevice of ['0', 'xvda', 'xvdb', 'c', '2', 'd1', 'sda']) {
        const expected = userdevice === 'c' ? 'INVALID_DEVICE' : 'DEVICE_ALREADY_EXISTS';
        expect(await f.failure(() => makeVbd(vm, { ...cd, userdevice }))).to.deep.equal([expected, userdevice]);
      }
      await handlers().VM.start(f.context(), vm, false, false);
      const names = ['xvda', 'xvdb', 'xvdc', 'xvdd', 'xvdab2', 'sda', 'xvde'];
      expect(made.map((ref) => vbd(ref).device)).to.deep.equal(names);
    });

    it('write only to what can be written to, and change that while the VM is halted', async () => {
      const vm = await f.createVm();
      const VDI = await disk({ read_only: true });
      expect(await f.failure(() => makeVbd(vm, { VDI, mode: 'RW', type: 'Disk' }))).to.deep.equal([
        'VDI_READONLY',
        VDI,
      ]);
      const ref = await makeVbd(vm, { VDI: await disk(), mode: 'RW', type: 'Disk' });
      await handlers().VBD.set_mode(f.context(), ref, 'RO');
      expect(vbd(ref).mode).to.equal('RO');
      await handlers().VM.start(f.context(), vm, false, false);
      expect((await f.failure(() => handlers().VBD.set_mode(f.context(), ref, 'RW')))[0]).to.equal(
        'VM_BAD_POWER_STATE',
      );
    });
  });

  it('have numbers that are free', async () => {
    const vm = await f.createVm();
    await makeVif(vm, { device: '1' });
    await makeVbd(vm, { type: 'CD', empty: true, userdevice: '0' });
    const vifs = await handlers().VM.get_allowed_VIF_devices(f.context(), vm);
    const vbds = await handlers().VM.get_allowed_VBD_devices(f.context(), vm);
    expect([vifs.slice(0, 3), vifs.length]).to.deep.equal([['0', '2', '3'], 15]);
    expect([vbds.slice(0, 2), vbds.length]).to.deep.equal([['1', '2'], 254]);
  });

  it('make a VM that every host could run, or not', async () => {
    await f.joinB();
    const vm = await f.createVm();
    await makeVif(vm);
    await handlers().VM.assert_agile(f.context(), vm);
    await makeVbd(vm, { VDI: await disk(), mode: 'RW', type: 'Disk' });
    expect(await f.failure(() => handlers().VM.assert_agile(f.context(), vm))).to.deep.equal([
      'HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED',
      localSr(),
    ]);
  });
});
