import { expect } from 'chai';
import type { GuestEnd } from '../../../src/base/domain.js';
import { nullRef } from '../../../src/model/value.js';
import { type RealHost, type RealPool, type RealPools, startRealPools } from '../real-pools.js';

interface VmRecord {
  readonly uuid: string;
  readonly power_state: string;
  readonly resident_on: string;
  readonly domid: string;
  readonly current_operations: Record<string, string>;
  readonly allowed_operations: string[];
}

type Kind = 'VM.pool_migrate' | 'VM.migrate_send within the pool' | 'VM.migrate_send to another pool';
const kinds: readonly Kind[] = [
  'VM.pool_migrate',
  'VM.migrate_send within the pool',
  'VM.migrate_send to another pool',
];

type Moment = readonly [side: 'source' | 'destination', step: string];
const name = ([side, step]: Moment) => `${side} ${step}`;

describe('A VM that ends while it migrates', function () {
  this.timeout(60_000);
  let pools: RealPools;
  let here: RealPool;
  let source: RealHost;
  let vm: { ref: string; uuid: string; vif: string };

  before(async () => {
    pools = await startRealPools();
    here = pools.here;
    source = here.hosts[0]!;
  });
  after(() => pools?.stop());
  beforeEach(async () => {
    vm = await here.createVm();
    await here.call('VM.start_on', vm.ref, source.ref, false, false);
  });
  afterEach(async () => {
    for (const pool of [here, pools.there]) {
      for (const host of pool.hosts) await host.clearFaults();
      const [ref] = await pool.call<string[]>('VM.get_by_name_label', 'vm');
      if (ref === undefined) continue;
      if ((await pool.call('VM.get_power_state', ref)) !== 'Halted') await pool.call('VM.hard_shutdown', ref);
      await pool.call('VM.destroy', ref);
    }
  });

  const poolOf = (kind: Kind) => (kind === 'VM.migrate_send to another pool' ? pools.there : here);
  const destinationOf = (kind: Kind) => poolOf(kind).hosts.at(-1)!;
  const begin = async (kind: Kind): Promise<string> => {
    const to = destinationOf(kind);
    if (kind === 'VM.pool_migrate') return here.call('Async.VM.pool_migrate', vm.ref, to.ref, {});
    const dest = await poolOf(kind).destination(to);
    const vifs = poolOf(kind) === here ? {} : { [vm.vif]: await pools.there.network() };
    return here.call('Async.VM.migrate_send', vm.ref, dest, true, {}, vifs, {});
  };
  /** Begin, and let it come to a moment. @returns its task */
  const stallAt = async (kind: Kind, [side, step]: Moment): Promise<string> => {
    const stalled = await (side === 'source' ? source : destinationOf(kind)).stall(side, step, vm.uuid);
    const task = await begin(kind);
    await stalled();
    return task;
  };
  const goOn = async (kind: Kind) => {
    for (const host of new Set([source, destinationOf(kind)])) await host.clearFaults();
  };
  const record = (pool = here, ref = vm.ref) => pool.call<VmRecord>('VM.get_record', ref);

  /** The VM is halted, or runs on one host alone; its record says so, and nothing holds it. */
  async function isSettled(kind: Kind, pool: RealPool, on: RealHost | undefined): Promise<VmRecord> {
    const [ref, ...more] = await pool.call<string[]>('VM.get_by_name_label', 'vm');
    const row = await record(pool, ref);
    const domains = await Promise.all(
      [...here.hosts, ...pools.there.hosts].map(async (host) =>
        (await host.domains()).map(({ uuid, state }) => [host.name, uuid, state]),
      ),
    );
    expect(domains.flat()).to.deep.equal(on === undefined ? [] : [[on.name, vm.uuid, 'running']]);
    expect([row.power_state, row.resident_on, row.current_operations, more]).to.deep.equal([
      ...(on === undefined ? ['Halted', nullRef] : ['Running', on.ref]),
      {},
      [],
    ]);
    expect(row.allowed_operations).to.include(on === undefined ? 'start' : 'pool_migrate');
    const other = pool === here ? pools.there : here;
    if (poolOf(kind) !== here) expect(await other.call('VM.get_by_name_label', 'vm')).to.deep.equal([]);
    return row;
  }

  for (const kind of kinds) {
    for (const moment of [
      ['source', 'prepare'],
      ['source', 'copy'],
      ['destination', '2-restored'],
    ] as const) {
      for (const message of ['hard_shutdown', 'hard_reboot'] as const) {
        it(`is ended by VM.${message} before ${kind}, at ${name(moment)}, which is cancelled`, async () => {
          const { domid } = await record();
          const task = await stallAt(kind, moment);
          expect((await record()).allowed_operations).to.have.members(['hard_shutdown', 'hard_reboot']);
          await here.call(`VM.${message}`, vm.ref);
          const row = await isSettled(kind, here, message === 'hard_reboot' ? source : undefined);
          if (message === 'hard_reboot') expect(Number(row.domid)).to.be.above(Number(domid));
          expect(await here.taskEnd(task)).to.deep.include({ status: 'cancelled', error_info: [] });
        });
      }
    }

    for (const moment of [
      ['source', '3'],
      ['destination', 'taken'],
    ] as const) {
      for (const message of ['hard_shutdown', 'hard_reboot'] as const) {
        it(`is ended by VM.${message} where it is after ${kind}, at ${name(moment)}, which can only succeed`, async () => {
          const task = await stallAt(kind, moment);
          const call = here.failure(`VM.${message}`, vm.ref);
          while (!Object.values((await record()).current_operations).includes(message));
          await goOn(kind);
          const refused = await call;
          expect(await here.taskEnd(task)).to.have.property('status', 'success');
          const to = destinationOf(kind);
          if (poolOf(kind) !== here) {
            expect(refused).to.deep.equal(['HANDLE_INVALID', 'VM', vm.ref]);
            await isSettled(kind, pools.there, to);
            return;
          }
          expect(refused).to.deep.equal([]);
          await isSettled(kind, here, message === 'hard_reboot' ? to : undefined);
        });
      }
    }

    const ends: [GuestEnd, string][] = [
      ['poweroff', 'VM_HALTED'],
      ['reboot', 'VM_REBOOTED'],
      ['crash', 'VM_CRASHED'],
    ];
    for (const [how, code] of ends) {
      for (const moment of [
        ['source', 'prepare'],
        ['source', 'copy'],
      ] as const) {
        it(`as its guest does by itself (${how}), during ${kind}, at ${name(moment)}, ends that with ${code}`, async () => {
          const task = await stallAt(kind, moment);
          await source.endGuest(vm.uuid, how);
          expect(await here.taskEnd(task)).to.deep.include({ status: 'failure', error_info: [code, vm.ref] });
          await isSettled(kind, here, how === 'reboot' ? source : undefined);
        });
      }

      it(`as its guest does by itself (${how}), where it has arrived by ${kind}, is ended there`, async () => {
        const task = await stallAt(kind, ['destination', '4']);
        const to = destinationOf(kind);
        await to.endGuest(vm.uuid, how);
        await goOn(kind);
        expect(await here.taskEnd(task)).to.have.property('status', 'success');
        if (poolOf(kind) !== here) {
          while ((await to.domains()).some(({ state }) => state === 'shutdown'));
          while (Object.keys((await record(pools.there, await arrived())).current_operations).length > 0);
        }
        await isSettled(kind, poolOf(kind), how === 'reboot' ? to : undefined);
      });
    }
  }

  async function arrived(): Promise<string> {
    const [ref] = await pools.there.call<string[]>('VM.get_by_name_label', 'vm');
    return ref ?? nullRef;
  }
});
