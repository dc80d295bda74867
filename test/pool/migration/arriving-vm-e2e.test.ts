import { expect } from 'chai';
import { type RealHost, type RealPool, type RealPools, startRealPools } from '../real-pools.js';

describe('A VM that arrives from another pool', function () {
  this.timeout(60_000);
  let pools: RealPools;
  let here: RealPool;
  let there: RealPool;
  let source: RealHost;
  let destination: RealHost;
  let vm: { ref: string; uuid: string; vif: string };

  before(async () => {
    pools = await startRealPools();
    ({ here, there } = pools);
    source = here.hosts[0]!;
    destination = there.hosts[0]!;
  });
  after(() => pools?.stop());
  beforeEach(async () => {
    vm = await here.createVm();
    await here.call('VM.start_on', vm.ref, source.ref, false, false);
  });
  afterEach(async () => {
    await destination.clearFaults();
    await there.call('VM.hard_shutdown', await arriving());
    await there.call('VM.destroy', await arriving());
  });

  const arriving = async () => (await there.call<string[]>('VM.get_by_name_label', 'vm'))[0] as string;
  const begin = async () => {
    const dest = await there.destination(destination);
    return here.call<string>('Async.VM.migrate_send', vm.ref, dest, true, {}, { [vm.vif]: await there.network() }, {});
  };

  const words: [word: string, params: unknown[], code: string][] = [
    ['VM.power_state_reset', [], 'OTHER_OPERATION_IN_PROGRESS'],
    ['VM.destroy', [], 'OTHER_OPERATION_IN_PROGRESS'],
    ['VM.start', [false, false], 'OTHER_OPERATION_IN_PROGRESS'],
    ['VM.clone', ['other'], 'OTHER_OPERATION_IN_PROGRESS'],
    ['VM.set_is_a_template', [true], 'OTHER_OPERATION_IN_PROGRESS'],
    ['VM.hard_shutdown', [], 'VM_BAD_POWER_STATE'],
    ['VM.hard_reboot', [], 'VM_BAD_POWER_STATE'],
  ];
  for (const step of ['1', 'copy', '2-restored', 'taken']) {
    it(`is left alone at ${step} by every word of an operator there, and arrives`, async () => {
      const stalled = await destination.stall('destination', step, vm.uuid);
      const task = await begin();
      await stalled();
      const ref = await arriving();
      const id = (await here.call<Record<string, string>>('task.get_other_config', task)).migration_id;
      for (const [word, params, code] of words) {
        const refused = await there.failure(word, ref, ...params);
        expect(refused[0], word).to.equal(code);
        if (code === 'OTHER_OPERATION_IN_PROGRESS')
          expect(refused.slice(1)).to.deep.equal(['VM', ref, 'migrate_send', id]);
      }
      expect((await there.failure('host.declare_dead', destination.ref))[0]).to.equal('OPERATION_NOT_ALLOWED');
      await destination.clearFaults();
      expect(await here.taskEnd(task)).to.have.property('status', 'success');
      expect((await destination.domains()).map(({ uuid, state }) => [uuid, state])).to.deep.equal([
        [vm.uuid, 'running'],
      ]);
      expect(await source.domains()).to.deep.equal([]);
    });
  }
});
