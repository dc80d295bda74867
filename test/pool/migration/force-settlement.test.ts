import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import type { MigrateRequest } from '../../../src/host/service/service.js';
import { nullRef, recordWithDefaults } from '../../../src/model/value.js';
import { leftBehindKey } from '../../../src/pool/vm-records/in-doubt.js';
import { type FakeHost, report } from '../fake-host.js';
import type { Fixture } from '../fixture.js';
import { openMigrationLab, requestTo } from './migration-lab.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('VM.power_state_reset', () => {
  let f: Fixture;
  let hostB: Ref<'host'>;
  let vm: Ref<'VM'>;
  let uuid: string;
  beforeEach(async () => {
    ({ f, hostB, vm } = await openMigrationLab());
    uuid = row().uuid;
  });
  afterEach(() => f.close());

  const row = () => f.pool.db.get('VM', vm);
  const handlers = () => f.pool.dispatch.handlers.VM;
  const reset = () => handlers().power_state_reset(f.context(), vm);
  /** Those that an operator has to see to. */
  const messages = () => f.pool.db.all('message').flatMap(([, { name, priority }]) => (priority < 3 ? [name] : []));
  const doubt = () => row().other_config['xenferry:in-doubt'];
  const isLive = (host: Ref<'host'>) => f.pool.db.get('host_metrics', f.pool.db.get('host', host).metrics).live;
  const lose = async (host: FakeHost, ref: Ref<'host'>) => {
    host.reachable = false;
    host.emit({ kind: 'domain-gone', uuid: 'none' });
    await f.until(() => !isLive(ref));
  };
  const find = async (host: FakeHost, ref: Ref<'host'>) => {
    host.reachable = true;
    await f.until(() => isLive(ref));
  };
  /** The VM migrates from a to b, and a hears nothing more after the commit. */
  const leaveInDoubt = async (): Promise<MigrateRequest> => {
    const call = Promise.resolve(handlers().pool_migrate(f.context(), vm, hostB, {}));
    call.catch(() => undefined);
    const request = await requestTo(f.a);
    f.a.domain(uuid, 'paused', 'nobody answers');
    const error = { code: 'VM_MIGRATE_FAILED', params: [uuid, 'a', 'b', 'no answer'] };
    f.a.end(request.migrationId, { status: 'in-doubt', error });
    expect((await f.failure(() => call))[0]).to.equal('VM_MIGRATE_FAILED');
    return request;
  };
  const rows = () => [...f.store.table('migrations').entries()];

  it('lets the copy of the source go on where the destination is gone, and the one that comes back is none', async () => {
    await leaveInDoubt();
    expect(doubt()).to.be.a('string');
    expect(messages()).to.deep.equal(['VM_MIGRATION_IN_DOUBT']);
    await lose(f.b, hostB);
    await reset();
    expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA });
    expect([f.a.settled, rows(), messages(), doubt()]).to.deep.equal([[[uuid, 'here']], [], [], undefined]);
    f.b.domain(uuid, 'running');
    f.b.reachable = true;
    while (f.b.doubted.length === 0) await turn();
    expect(f.b.doubted[0]?.[1]).to.include('is on host a');
    expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA });
    await f.until(() => messages().includes('VM_COPY_LEFT_BEHIND'));
    await reset();
    expect(f.b.settled).to.deep.equal([[uuid, 'elsewhere']]);
    expect(f.b.state().domains).to.deep.equal([]);
    expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA });
    expect([messages(), row().other_config[leftBehindKey]]).to.deep.equal([[], undefined]);
    expect((await f.failure(reset))[0]).to.equal('DOMAIN_EXISTS');
  });

  it('keeps the mark of a VM in doubt, whatever a client does to other_config', async () => {
    await leaveInDoubt();
    const { rows: access } = f.pool.dispatch;
    const mark = doubt();
    const key = 'xenferry:in-doubt';
    const refused = await f.failure(() => access.removeFromMap('VM', vm, 'other_config', key));
    expect(refused[0]).to.equal('OPERATION_NOT_ALLOWED');
    expect(refused[1]).to.include(`xe vm-reset-powerstate uuid=${uuid} --force`);
    await access.set('VM', vm, 'other_config', { a: 'b', [key]: 'of before', [leftBehindKey]: 'of before' });
    expect(row().other_config).to.deep.equal({ a: 'b', [key]: mark });
    expect((await f.failure(() => handlers().hard_shutdown(f.context(), vm)))[0]).to.equal('OPERATION_NOT_ALLOWED');
    await reset();
    await access.set('VM', vm, 'other_config', { [key]: 'of before' });
    expect(row().other_config).to.deep.equal({});
    for (const name of [key, leftBehindKey]) {
      const [code] = await f.failure(() => access.addToMap('VM', vm, 'other_config', name, 'a client'));
      expect(code).to.equal('OPERATION_NOT_ALLOWED');
    }
    const copied = { ...(recordWithDefaults('VM') as RecordOf<'VM'>), ...row(), other_config: { a: 'b', [key]: 'x' } };
    const made = await handlers().create(f.context(), copied);
    const { mac_seed, ...others } = f.pool.db.get('VM', made).other_config;
    expect([others, typeof mac_seed]).to.deep.equal([{ a: 'b' }, 'string']);
  });

  it('has a destination that answers refuse before the source goes on', async () => {
    await leaveInDoubt();
    await reset();
    expect([f.b.settled, f.a.settled]).to.deep.equal([[[uuid, 'elsewhere']], [[uuid, 'here']]]);
    expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA });
  });

  it('lets the copy of a destination go on that has taken the VM and not run it', async () => {
    await leaveInDoubt();
    f.b.domain(uuid, 'paused', 'taken, and never ran');
    await lose(f.a, f.hostA);
    await reset();
    expect([f.b.settled, f.a.settled]).to.deep.equal([[[uuid, 'here']], []]);
    expect(row()).to.include({ power_state: 'Running', resident_on: hostB });
    await find(f.a, f.hostA);
    await f.until(() => messages().includes('VM_COPY_LEFT_BEHIND'));
    expect(f.a.state().domains.map(({ inDoubt }) => inDoubt)).to.deep.equal(['nobody answers']);
    await reset();
    expect(f.a.state().domains).to.deep.equal([]);
    expect(row()).to.include({ power_state: 'Running', resident_on: hostB });
  });

  it('destroys the copy of the source where the destination runs the VM', async () => {
    await leaveInDoubt();
    f.b.domain(uuid, 'running');
    await f.until(() => row().resident_on === hostB);
    f.a.emit({ kind: 'domain-gone', uuid: 'none' });
    await f.until(() => messages().includes('VM_COPY_LEFT_BEHIND'));
    await reset();
    expect([f.b.settled, f.a.settled]).to.deep.equal([[], [[uuid, 'elsewhere']]]);
    expect(row()).to.include({ power_state: 'Running', resident_on: hostB });
  });

  it('forgets a copy that was left behind when its host has it no more, nor may take it', async () => {
    await leaveInDoubt();
    f.b.domain(uuid, 'running');
    await f.until(() => row().resident_on === hostB);
    f.a.emit({ kind: 'domain-gone', uuid: 'none' });
    await f.until(() => messages().includes('VM_COPY_LEFT_BEHIND'));
    f.a.arriving.push(uuid);
    f.a.domain(uuid, undefined);
    // The look that the next one follows is over.
    for (let looks = f.a.looks, more = 2; more > 0; more -= 1) {
      f.a.emit({ kind: 'domain-gone', uuid: 'none' });
      while (f.a.looks === looks) await turn();
      looks = f.a.looks;
    }
    expect(messages()).to.deep.equal(['VM_COPY_LEFT_BEHIND']);
    f.a.arriving.splice(0);
    f.a.emit({ kind: 'domain-gone', uuid: 'none' });
    await f.until(() => messages().length === 0);
    expect(row().other_config[leftBehindKey]).to.equal(undefined);
  });

  it('halts a VM whose hosts are all gone, for good, and takes nothing back that was given up', async () => {
    await leaveInDoubt();
    await lose(f.b, hostB);
    await lose(f.a, f.hostA);
    await reset();
    expect(row()).to.include({ power_state: 'Halted', resident_on: nullRef });
    expect(doubt()).to.equal(undefined);
    expect(rows()).to.deep.equal([]);
    f.a.reachable = true;
    f = await f.restart();
    expect(row().power_state).to.equal('Halted');
    f.b.domain(uuid, 'running');
    f.b.reachable = true;
    while (f.b.doubted.length === 0) await turn();
    expect(row()).to.include({ power_state: 'Halted', resident_on: nullRef });
    expect(await f.failure(() => handlers().start(f.context(), vm, false, false))).to.not.deep.equal([]);
    await reset();
    expect([f.a.state().domains, f.b.state().domains]).to.deep.equal([[], []]);
    await handlers().start_on(f.context(), vm, hostB, false, false);
    expect(row()).to.include({ power_state: 'Running', resident_on: hostB });
  });

  it('tells a source that comes back without its copy that the VM was settled meanwhile', async () => {
    await leaveInDoubt();
    await lose(f.b, hostB);
    await lose(f.a, f.hostA);
    await reset();
    expect(row().other_config[leftBehindKey]).to.include(f.a.state().uuid);
    f.a.domain(uuid, undefined);
    f.a.leaving.push(uuid);
    await find(f.a, f.hostA);
    while (f.a.settled.length === 0) await turn();
    f.a.emit({ kind: 'domain-gone', uuid: 'none' });
    await f.until(() => row().other_config[leftBehindKey] === f.b.state().uuid);
    expect(f.a.settled).to.deep.equal([[uuid, 'elsewhere']]);
    await handlers().start_on(f.context(), vm, f.hostA, false, false);
    expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA });
  });

  it('gives up a migration whose source is gone, and ends its call; one whose source answers can be cancelled', async () => {
    const task = f.task();
    const call = Promise.resolve(handlers().pool_migrate(f.context(task), vm, hostB, {}));
    call.catch(() => undefined);
    await requestTo(f.a);
    expect(await f.failure(reset)).to.deep.equal(['OTHER_OPERATION_IN_PROGRESS', 'VM', vm, 'pool_migrate', task.ref]);
    await lose(f.a, f.hostA);
    await reset();
    expect((await f.failure(() => call)).at(-1)).to.include('power_state_reset');
    expect(row()).to.deep.include({ power_state: 'Halted', resident_on: nullRef, current_operations: {} });
    f.a.end(f.a.migrations[0]!.migrationId, { status: 'success', report });
    await find(f.a, f.hostA);
    while (f.a.doubted.length === 0) await turn();
    expect(row().power_state).to.equal('Halted');
  });

  it('settles every VM of a host that is declared dead, and of none that answers', async () => {
    const there = await f.createVm();
    await handlers().start_on(f.context(), there, hostB, false, false);
    const declare = () => f.pool.dispatch.handlers.host.declare_dead(f.context(), hostB);
    expect((await f.failure(declare))[0]).to.equal('OPERATION_NOT_ALLOWED');
    await leaveInDoubt();
    await lose(f.b, hostB);
    await declare();
    expect(f.pool.db.get('VM', there)).to.include({ power_state: 'Halted', resident_on: nullRef });
    expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA });
  });

  it('takes a copy back that its owner wants back, after the record of having given it up was removed', async () => {
    await lose(f.a, f.hostA);
    await reset();
    await find(f.a, f.hostA);
    while (f.a.doubted.length === 0) await turn();
    f.pool.db.removeFromMap('VM', vm, 'other_config', leftBehindKey);
    f.a.emit({ kind: 'domain-gone', uuid: 'none' });
    await f.until(() => row().power_state === 'Paused' && doubt() !== undefined);
    await reset();
    expect(row()).to.include({ power_state: 'Running', resident_on: f.hostA });
    expect(doubt()).to.equal(undefined);
  });
});
