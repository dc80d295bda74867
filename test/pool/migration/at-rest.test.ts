import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import type { MigrateRequest } from '../../../src/host/service/service.js';
import { report } from '../fake-host.js';
import type { Fixture } from '../fixture.js';
import { ownVms } from '../own-vms.js';
import { openTwoPools, type TwoPools } from '../two-pools.js';

describe('A halted VM that goes to another pool', () => {
  let pools: TwoPools;
  let here: Fixture;
  let there: Fixture;
  let vm: Ref<'VM'>;
  let uuid: string;
  beforeEach(async () => {
    pools = await openTwoPools();
    ({ here, there, vm } = pools);
    await here.pool.dispatch.handlers.VM.hard_shutdown(here.context(), vm);
    uuid = row().uuid;
  });
  afterEach(async () => {
    await here.close();
    await there.close();
  });

  const row = () => here.pool.db.get('VM', vm);
  const handlers = (pool: Fixture) => pool.pool.dispatch.handlers.VM;
  const failed = { status: 'failure', error: { code: 'VM_MIGRATE_FAILED', params: [] } } as const;
  const begin = async (): Promise<{ request: MigrateRequest; ended: Promise<string[]> }> => {
    const ended = here.failure(() => pools.send({ [pools.vif]: pools.networkThere() }));
    return { request: await pools.asked(), ended };
  };
  const arrive = async (request: MigrateRequest) => (await pools.receive(request)).vm as Ref<'VM'>;
  /** The pool there is started anew, and has followed its host. */
  const restartThere = async (): Promise<void> => {
    there = await there.restart();
    Object.assign(pools, { there });
  };

  it('is sent by the coordinator, is held on both sides, and is there once', async () => {
    const { request, ended } = await begin();
    expect(request.metadata).to.include({ version: 2, rest: 'halted' });
    const arriving = await arrive(request);
    for (const [pool, ref] of [
      [here, vm],
      [there, arriving],
    ] as const) {
      for (const message of ['start', 'destroy'] as const) {
        const call = () => handlers(pool)[message](pool.context(), ref, false, false);
        expect((await pool.failure(call))[0]).to.equal('OTHER_OPERATION_IN_PROGRESS');
      }
    }
    there.a.fates.set(request.migrationId, 'done');
    there.a.emit({ kind: 'receive-ended', migrationId: request.migrationId, taken: true });
    await there.until(() => there.pool.db.get('VM', arriving).allowed_operations.includes('start'));
    here.a.end(request.migrationId, { status: 'success', report: { ...report, vm: arriving } });
    expect(await ended).to.deep.equal([]);
    expect(ownVms(here.pool.db)).to.deep.equal([]);
    expect(there.pool.db.get('VM', arriving)).to.deep.include({ uuid, power_state: 'Halted', current_operations: {} });
    while (there.a.fates.size > 0) await new Promise((resolve) => setImmediate(resolve));
  });

  it('stays as it was where that fails', async () => {
    const before = row();
    const { request, ended } = await begin();
    await arrive(request);
    there.a.emit({ kind: 'receive-ended', migrationId: request.migrationId, taken: false });
    await there.until(() => ownVms(there.pool.db).length === 0);
    here.a.end(request.migrationId, failed);
    expect((await ended)[0]).to.equal('VM_MIGRATE_FAILED');
    expect(row()).to.deep.equal(before);
  });

  for (const [fate, expected] of [
    ['done', 'free'],
    ['refused', 'gone'],
    ['unknown', 'gone'],
    ['open', 'held'],
  ] as const) {
    it(`is ${expected} there after a restart, where the host says ${fate}`, async () => {
      const { request, ended } = await begin();
      const arriving = await arrive(request);
      there.a.arriving.push(uuid);
      if (fate === 'unknown') there.a.fates.delete(request.migrationId);
      else there.a.fates.set(request.migrationId, fate);
      await restartThere();
      if (expected === 'held') {
        expect(Object.values(there.pool.db.get('VM', arriving).current_operations)).to.deep.equal(['migrate_send']);
      } else if (expected === 'gone') await there.until(() => ownVms(there.pool.db).length === 0);
      else await there.until(() => there.pool.db.get('VM', arriving).allowed_operations.includes('start'));
      here.a.end(request.migrationId, failed);
      await ended;
    });
  }

  describe('and is in doubt', () => {
    const doubt = async (): Promise<MigrateRequest> => {
      const { request, ended } = await begin();
      here.a.end(request.migrationId, { status: 'in-doubt', error: { code: 'VM_MIGRATE_FAILED', params: ['why'] } });
      expect((await ended)[0]).to.equal('VM_MIGRATE_FAILED');
      return request;
    };

    it('does not start until the hosts know, and then goes', async () => {
      const request = await doubt();
      expect(row()).to.include({ power_state: 'Halted' });
      expect(row().allowed_operations).not.to.include('start');
      expect((await here.failure(() => handlers(here).start(here.context(), vm, false, false)))[0]).to.equal(
        'OPERATION_NOT_ALLOWED',
      );
      here.a.end(request.migrationId, { status: 'success', report });
      await here.until(() => ownVms(here.pool.db).length === 0);
    });

    it('is here by an operator\u2019s word, once its host has heard it', async () => {
      await doubt();
      const settled: string[][] = [];
      here.a.service.forceSettlement = async (...args) => void settled.push(args);
      await handlers(here).power_state_reset(here.context(), vm);
      expect(settled).to.deep.equal([[uuid, 'here']]);
      expect(row()).to.include({ power_state: 'Halted' });
      expect(row().allowed_operations).to.include('start');
    });
  });

  it('is there by an operator\u2019s word where it was taken, and not while it arrives', async () => {
    const { request, ended } = await begin();
    const arriving = await arrive(request);
    const reset = () => handlers(there).power_state_reset(there.context(), arriving);
    expect(await there.failure(reset)).to.deep.equal([
      'OTHER_OPERATION_IN_PROGRESS',
      'VM',
      arriving,
      'migrate_send',
      request.migrationId,
    ]);
    there.a.service.forceSettlement = async () => void there.a.fates.set(request.migrationId, 'done');
    await reset();
    expect(there.pool.db.get('VM', arriving)).to.deep.include({ power_state: 'Halted', current_operations: {} });
    here.a.end(request.migrationId, failed);
    await ended;
  });
});
