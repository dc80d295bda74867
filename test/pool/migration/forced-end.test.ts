import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import type { GuestEnd } from '../../../src/base/domain.js';
import type { MigrateRequest } from '../../../src/host/service/service.js';
import { type Fixture, openFixture } from '../fixture.js';
import { openMigrationLab, requestTo } from './migration-lab.js';

describe('A forced end of a VM that migrates', () => {
  let f: Fixture;
  let hostB: Ref<'host'>;
  let vm: Ref<'VM'>;
  beforeEach(async () => {
    ({ f, hostB, vm } = await openMigrationLab());
  });
  afterEach(() => f.close());

  const row = () => f.pool.db.get('VM', vm);
  const handlers = () => f.pool.dispatch.handlers.VM;
  const begin = async (task = f.task()): Promise<{ request: MigrateRequest; ended: Promise<string[]> }> => {
    const ended = f.failure(() => handlers().pool_migrate(f.context(task), vm, hostB, {}));
    return { request: await requestTo(f.a), ended };
  };
  const holds = (operation: string) =>
    f.until(() => Object.values(row().current_operations).includes(operation as never));
  const cancelled = { status: 'cancelled', error: { code: 'TASK_CANCELLED', params: [] } } as const;

  for (const message of ['hard_shutdown', 'hard_reboot'] as const) {
    it(`waits for its outcome, and is refused where that is a doubt: ${message}`, async () => {
      const { request, ended } = await begin();
      const refused = f.failure(() => handlers()[message](f.context(), vm));
      await holds(message);
      f.a.domain(request.uuid, 'paused', 'nobody answers');
      f.a.end(request.migrationId, { status: 'in-doubt', error: { code: 'VM_MIGRATE_FAILED', params: ['no answer'] } });
      expect((await ended)[0]).to.equal('VM_MIGRATE_FAILED');
      expect((await refused)[0]).to.equal('OPERATION_NOT_ALLOWED');
      expect(row()).to.deep.include({ power_state: 'Paused', resident_on: f.hostA, current_operations: {} });
    });

    it(`does not wait for a host that does not answer: ${message}`, async () => {
      await begin();
      f.a.reachable = false;
      f.a.emit({ kind: 'domain-gone', uuid: 'wakes the poll' });
      expect(await f.failure(() => handlers()[message](f.context(), vm))).to.deep.equal(['HOST_OFFLINE', f.hostA]);
      expect(Object.values(row().current_operations)).to.deep.equal(['pool_migrate']);
    });

    it(`cancels one that a coordinator has taken up again: ${message}`, async () => {
      const task = f.task();
      const { request } = await begin(task);
      await f.until(() => f.pool.db.get('task', task.ref).other_config.migration_id !== undefined);
      f = await f.restart();
      const ended = f.failure(() => handlers()[message](f.context(), vm));
      while (f.a.cancelled.length === 0) await new Promise((resolve) => setImmediate(resolve));
      f.a.end(request.migrationId, cancelled);
      expect(await ended).to.deep.equal([]);
      expect(f.pool.db.get('task', task.ref).status).to.equal('cancelled');
      expect(row().power_state).to.equal(message === 'hard_reboot' ? 'Running' : 'Halted');
    });
  }

  it('starts a VM that ended meanwhile and is to be rebooted', async () => {
    const { request } = await begin();
    const call = handlers().hard_reboot(f.context(), vm);
    f.a.domain(request.uuid, undefined);
    f.a.end(request.migrationId, cancelled);
    await call;
    expect(row()).to.deep.include({ power_state: 'Running', current_operations: {} });
  });

  it('is the only one: others are refused until it has been brought about', async () => {
    const { request } = await begin();
    const first = handlers().hard_shutdown(f.context(), vm);
    for (const message of ['hard_shutdown', 'hard_reboot', 'clean_shutdown', 'power_state_reset'] as const) {
      expect((await f.failure(() => handlers()[message](f.context(), vm)))[0]).to.equal('OTHER_OPERATION_IN_PROGRESS');
    }
    f.a.end(request.migrationId, cancelled);
    await first;
    expect(row()).to.deep.include({ power_state: 'Halted', current_operations: {} });
  });
});

describe('A guest that ends by itself', () => {
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
  });
  afterEach(() => f.close());

  const rows: [GuestEnd, Partial<RecordOf<'VM'>>, 'Halted' | 'Running'][] = [
    ['poweroff', { actions_after_shutdown: 'destroy', actions_after_reboot: 'restart' }, 'Halted'],
    ['poweroff', { actions_after_shutdown: 'restart', actions_after_reboot: 'destroy' }, 'Running'],
    ['reboot', { actions_after_shutdown: 'destroy', actions_after_reboot: 'restart' }, 'Running'],
    ['reboot', { actions_after_shutdown: 'restart', actions_after_reboot: 'destroy' }, 'Halted'],
    ['crash', { actions_after_shutdown: 'restart', actions_after_reboot: 'restart' }, 'Halted'],
    ['crash', { actions_after_crash: 'restart', actions_after_reboot: 'destroy' }, 'Running'],
  ];
  for (const [how, actions, expected] of rows) {
    it(`leaves its VM ${expected} after ${how}, with ${JSON.stringify(actions)}`, async () => {
      const vm = await f.runningVm(actions);
      const { uuid, domid } = f.pool.db.get('VM', vm);
      f.a.endGuest(uuid, how);
      await f.until(() => f.pool.db.get('VM', vm).domid !== domid);
      expect(f.pool.db.get('VM', vm).power_state).to.equal(expected);
    });
  }

  it('leaves its VM halted where that cannot begin anew', async () => {
    const vm = await f.runningVm({ actions_after_reboot: 'restart' });
    f.pool.db.update('VM', vm, { platform: {}, other_config: { 'simulator:profile': 'no profile' } });
    f.a.endGuest(f.pool.db.get('VM', vm).uuid, 'reboot');
    await f.until(() => f.pool.db.get('VM', vm).power_state === 'Halted');
    expect(f.a.state().domains).to.deep.equal([]);
  });
});
