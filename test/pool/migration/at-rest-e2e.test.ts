import { existsSync, readdirSync, rmSync } from 'node:fs';
import { expect } from 'chai';
import { nullRef } from '../../../src/model/value.js';
import { anyKeys, expectMap, mapOf } from '../../support/map-keys.js';
import { type RealHost, type RealPool, type RealPools, startRealPools } from '../real-pools.js';

interface VmRecord {
  readonly uuid: string;
  readonly power_state: string;
  readonly resident_on: string;
  readonly other_config: Record<string, string>;
  readonly VIFs: string[];
  readonly current_operations: Record<string, string>;
  readonly allowed_operations: string[];
}

describe('A VM that does not run', function () {
  this.timeout(60_000);
  let pools: RealPools;
  let here: RealPool;
  let there: RealPool;
  let destination: RealHost;
  let vm: { ref: string; uuid: string; vif: string };

  before(async () => {
    pools = await startRealPools();
    ({ here, there } = pools);
    destination = there.hosts[0]!;
  });
  after(() => pools?.stop());
  afterEach(async () => {
    for (const pool of [here, there]) {
      for (const ref of await pool.call<string[]>('VM.get_by_name_label', 'vm')) {
        if ((await pool.call('VM.get_power_state', ref)) !== 'Halted') await pool.call('VM.hard_shutdown', ref);
        await pool.call('VM.destroy', ref);
      }
    }
  });

  const record = (pool: RealPool, ref: string) => pool.call<VmRecord>('VM.get_record', ref);
  const found = (pool: RealPool) => pool.call<string[]>('VM.get_by_name_label', 'vm');
  const sending = async (vifs = true) => {
    const map = vifs ? { [vm.vif]: await there.network() } : {};
    return [vm.ref, await there.destination(destination), true, {}, map, {}];
  };

  describe('and is halted', () => {
    beforeEach(async () => {
      vm = await here.createVm({ 'simulator:seed': '9' });
    });

    it('goes to another pool, with its record, and starts there', async () => {
      expect((await record(here, vm.ref)).allowed_operations).to.include('migrate_send');
      await here.call('VM.assert_can_migrate', ...(await sending()));
      const before = await record(here, vm.ref);
      const ref = await here.call<string>('VM.migrate_send', ...(await sending()));
      expect(await found(here)).to.deep.equal([]);
      expect(await found(there)).to.deep.equal([ref]);
      const row = await record(there, ref);
      const { uuid, other_config } = before;
      expect(row).to.deep.include({ uuid, other_config, power_state: 'Halted', resident_on: nullRef });
      expect(row.VIFs).to.have.length(1);
      while (Object.keys((await record(there, ref)).current_operations).length > 0);
      await there.call('VM.start', ref, false, false);
      expect(await destination.domains()).to.have.length(1);
    });

    it('is refused there where another VM has its seed of MAC addresses, and stays', async () => {
      const { mac_seed = '' } = (await record(here, vm.ref)).other_config;
      const twin = await there.createVm({ mac_seed });
      expect(await here.failure('VM.migrate_send', ...(await sending()))).to.deep.equal([
        'DUPLICATE_MAC_SEED',
        mac_seed,
      ]);
      expect([await found(here), await found(there)]).to.deep.equal([[vm.ref], [twin.ref]]);
      expect(await record(here, vm.ref)).to.deep.include({ power_state: 'Halted', current_operations: {} });
    });

    it('stays where a member of its own pool is named', async () => {
      const dest = await here.destination(here.hosts[1]!);
      expect(await here.failure('VM.migrate_send', vm.ref, dest, true, {}, {}, {})).to.deep.equal([
        'VM_BAD_POWER_STATE',
        vm.ref,
        'running, paused',
        'halted',
      ]);
    });
  });

  describe('and is suspended', () => {
    const images = (pool: RealPool) => pool.hosts.flatMap(({ directory }) => imagesIn(directory));
    beforeEach(async () => {
      vm = await here.createVm({ 'simulator:dirty-pages-per-second': '2000' });
      await here.call('VGPU.create', vm.ref, nullRef, '0', {}, nullRef);
      await here.call('VM.start_on', vm.ref, here.hosts[1]!.ref, false, false);
      await here.call('VM.set_xenstore_data', vm.ref, mapOf(anyKeys));
      await here.call('VM.suspend', vm.ref);
    });

    for (const compress of ['false', 'true']) {
      it(`goes to another pool from the host that has its memory, and goes on there (compress=${compress})`, async () => {
        expect((await record(here, vm.ref)).allowed_operations).to.include('migrate_send');
        const image = images(here);
        expect(image).to.have.members([`${vm.uuid}.memory`, `${vm.uuid}.vgpu-0`]);
        const [ref0, dest, live, vdi, vif] = await sending();
        const task = await here.call<string>('Async.VM.migrate_send', ref0, dest, live, vdi, vif, { compress });
        expect(await here.taskEnd(task)).to.have.property('status', 'success');
        const told = await here.call<Record<string, string>>('task.get_other_config', task);
        expect(told).to.include({ compressor_used: compress === 'true' ? 'stream' : 'none' });
        expect([await found(here), images(here), images(there).sort()]).to.deep.equal([[], [], image.sort()]);
        const [ref = ''] = await found(there);
        while (Object.keys((await record(there, ref)).current_operations).length > 0);
        expect(await record(there, ref)).to.deep.include({ power_state: 'Suspended', resident_on: nullRef });
        await there.call('VM.resume', ref, false, false);
        const [domain] = await destination.domains();
        expect(domain).to.include({ uuid: vm.uuid, state: 'running' });
        expect(domain!.ticks).to.be.above(0);
        expect(await destination.badPages(vm.uuid)).to.equal(0);
        expectMap(await there.call('VM.get_xenstore_data', ref), mapOf(anyKeys), 'xenstore_data');
        expect(images(there)).to.deep.equal([]);
      });
    }

    it('is refused by either call where its memory is gone', async () => {
      for (const name of imagesIn(here.hosts[1]!.directory)) rmSync(`${here.hosts[1]!.directory}/suspend/${name}`);
      expect((await here.failure('VM.migrate_send', ...(await sending())))[0]).to.equal('VM_MIGRATE_FAILED');
      expect(await record(here, vm.ref)).to.deep.include({ power_state: 'Suspended', current_operations: {} });
      expect([await found(there), images(there)]).to.deep.equal([[], []]);
    });

    it('stays as it was where that is cancelled, or ended by VM.hard_shutdown', async () => {
      for (const end of ['task.cancel', 'VM.hard_shutdown']) {
        const stalled = await here.hosts[1]!.stall('source', 'copy', vm.uuid);
        const task = await here.call<string>('Async.VM.migrate_send', ...(await sending()));
        await stalled();
        await here.call(end, end === 'task.cancel' ? task : vm.ref);
        expect(await here.taskEnd(task)).to.have.property('status', 'cancelled');
        await here.hosts[1]!.clearFaults();
        const state = end === 'task.cancel' ? 'Suspended' : 'Halted';
        expect(await record(here, vm.ref)).to.deep.include({ power_state: state, current_operations: {} });
        expect(images(here)).to.have.length(end === 'task.cancel' ? 2 : 0);
        expect([await found(there), images(there)]).to.deep.equal([[], []]);
      }
    });
  });
});

function imagesIn(directory: string): string[] {
  return existsSync(`${directory}/suspend`) ? readdirSync(`${directory}/suspend`) : [];
}
