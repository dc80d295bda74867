import { expect } from 'chai';
import { nullRef } from '../../src/base/value.js';
import { type RealHost, type RealPool, type RealPools, startRealPools } from './real-pools.js';

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
});
