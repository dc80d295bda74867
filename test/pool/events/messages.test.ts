import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { createMessage, messageLimit } from '../../../src/pool/events/messages.js';
import { report } from '../fake-host.js';
import { type Fixture, openFixture, uuidOf } from '../fixture.js';

type VmRef = Ref<'VM'>;

describe('message', () => {
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
  });
  afterEach(() => f.close());
  const handlers = () => f.pool.dispatch.handlers.message;
  const vms = () => f.pool.dispatch.handlers.VM;
  const create = (name: string, uuid = uuidOf(1)) => handlers().create(f.context(), name, 3, 'Host', uuid, 'body');
  const names = async (found: Promise<object> | object) => Object.keys(await found);
  /** What is told, oldest first. */
  const told = () => f.pool.db.all('message').map(([, { name, priority }]) => `${name} ${priority}`);
  const newest = () => f.pool.db.all('message').at(-1)![1];

  it('is kept until it is destroyed, by a coordinator that starts anew as well', async () => {
    await f.joinB();
    const [one, two] = [await create('ONE'), await create('TWO', uuidOf(2))];
    f = await f.restart();
    const { timestamp, uuid, ...rest } = f.pool.db.get('message', one);
    expect(rest).to.deep.equal({ name: 'ONE', priority: 3, cls: 'Host', obj_uuid: uuidOf(1), body: 'body' });
    expect(f.pool.db.byUuid('message', uuid)).to.equal(one);
    expect(await names(handlers().get(f.context(), 'Host', uuidOf(2), new Date(0)))).to.deep.equal([two]);
    expect(await names(handlers().get_since(f.context(), timestamp))).to.deep.equal([two, one]);
    expect(await names(handlers().get_since(f.context(), new Date(Date.now() + 60_000)))).to.deep.equal([]);
    await handlers().destroy(f.context(), one);
    expect(await f.failure(() => handlers().destroy(f.context(), one))).to.deep.equal([
      'HANDLE_INVALID',
      'message',
      one,
    ]);
    const none = 'OpaqueRef:none' as Ref<'message'>;
    expect((await f.failure(() => handlers().destroy_many(f.context(), [two, none])))[0]).to.equal('HANDLE_INVALID');
    await handlers().destroy_many(f.context(), [two, two]);
    expect(f.pool.db.count('message')).to.equal(0);
  });

  it('needs a name, and something that it is about', async () => {
    expect(await f.failure(() => create(''))).to.deep.equal(['INVALID_VALUE', 'name', '']);
    for (const call of [
      () => create('ONE', uuidOf(7)),
      () => handlers().get(f.context(), 'Host', uuidOf(7), new Date(0)),
    ]) {
      expect(await f.failure(call)).to.deep.equal(['UUID_INVALID', 'Host', uuidOf(7)]);
    }
  });

  it('goes where there are too many, the oldest first', async () => {
    const first = await create('FIRST');
    const next = { name: 'NEXT', priority: 3, cls: 'Host' as const, obj_uuid: uuidOf(1), body: '' };
    for (let made = 1; made < messageLimit; made += 1) createMessage({ db: f.pool.db, now: () => new Date() }, next);
    expect(told()[0]).to.equal('FIRST 3');
    await create('NEXT');
    expect(f.pool.db.find('message', first)).to.equal(undefined);
    expect(f.pool.db.count('message')).to.equal(messageLimit);
    expect(new Set(told())).to.deep.equal(new Set(['NEXT 3']));
  });

  it('goes with all that filters pick', async () => {
    await create('ONE');
    await handlers().create(f.context(), 'TWO', 5, 'Host', uuidOf(1), '');
    const [past, future] = ['2020-01-01T00:00:00Z', '21200101T00:00:00Z'];
    const rows: [filters: Record<string, string>, left: string[]][] = [
      [{ before: past }, ['ONE 3', 'TWO 5']],
      [{ after: future }, ['ONE 3', 'TWO 5']],
      [{ after: past, before: future, priority: '5' }, ['ONE 3']],
      [{}, []],
    ];
    for (const wrong of [{ prio: '5' }, { priority: 'high' }, { before: 'now' }]) {
      const [[name, value]] = Object.entries(wrong) as [[string, string]];
      expect(await f.failure(() => handlers().destroy_all(f.context(), wrong as Record<string, string>))).to.deep.equal(
        ['INVALID_VALUE', `filters:${name}`, value],
      );
    }
    for (const [filters, left] of rows) {
      await handlers().destroy_all(f.context(), filters);
      expect(told(), JSON.stringify(filters)).to.deep.equal(left);
    }
  });

  const life: [what: string, message: string, act: (vm: VmRef) => Promise<unknown>][] = [
    ['is started', 'VM_STARTED 5', () => Promise.resolve()],
    ['is paused', 'VM_PAUSED 5', async (vm) => vms().pause(f.context(), vm)],
    ['goes on after a pause', 'VM_UNPAUSED 5', (vm) => following(vm, 'pause', 'unpause')],
    ['is suspended', 'VM_SUSPENDED 5', async (vm) => vms().suspend(f.context(), vm)],
    ['is resumed', 'VM_RESUMED 5', (vm) => following(vm, 'suspend', 'resume')],
    ['is resumed on a host', 'VM_RESUMED 5', (vm) => following(vm, 'suspend', 'resume_on')],
    ['is shut down', 'VM_SHUTDOWN 5', async (vm) => vms().clean_shutdown(f.context(), vm)],
    ['is shut down by force', 'VM_SHUTDOWN 5', async (vm) => vms().hard_shutdown(f.context(), vm)],
    ['is shut down either way', 'VM_SHUTDOWN 5', async (vm) => vms().shutdown(f.context(), vm)],
    ['is shut down while it is suspended', 'VM_SHUTDOWN 5', (vm) => following(vm, 'suspend', 'hard_shutdown')],
    ['is rebooted', 'VM_REBOOTED 5', async (vm) => vms().clean_reboot(f.context(), vm)],
    ['is rebooted by force', 'VM_REBOOTED 5', async (vm) => vms().hard_reboot(f.context(), vm)],
    [
      'is shut down by its guest',
      'VM_SHUTDOWN 5',
      (vm) => ends(vm, 'Halted', (uuid) => f.a.endGuest(uuid, 'poweroff')),
    ],
    ['crashes', 'VM_CRASHED 2', (vm) => ends(vm, 'Halted', (uuid) => f.a.endGuest(uuid, 'crash'))],
    ['has no room for its memory', 'VM_STALLED 3', (vm) => ends(vm, 'Paused', (uuid) => f.a.stall(uuid, 'no room'))],
    ['is rebooted by its guest', 'VM_REBOOTED 5', (vm) => ends(vm, 'Running', (uuid) => f.a.endGuest(uuid, 'reboot'))],
    ['is gone', 'VM_CRASHED 2', (vm) => ends(vm, 'Halted', (uuid) => f.a.domain(uuid, undefined))],
    ['is suspended by its host', 'VM_SUSPENDED 5', (vm) => ends(vm, 'Suspended', (uuid) => f.a.service.suspend(uuid))],
    ['migrates', 'VM_MIGRATED 5', (vm) => migrate(vm)],
  ];
  const following = async (
    vm: VmRef,
    first: 'pause' | 'suspend',
    then: 'unpause' | 'resume' | 'resume_on' | 'hard_shutdown',
  ) => {
    await vms()[first](f.context(), vm);
    if (then === 'resume') await vms().resume(f.context(), vm, false, false);
    else if (then === 'resume_on') await vms().resume_on(f.context(), vm, f.hostA, false, false);
    else await vms()[then](f.context(), vm);
  };
  const ends = async (vm: VmRef, state: string, act: (uuid: string) => unknown) => {
    await act(f.pool.db.get('VM', vm).uuid);
    await f.until(() => f.pool.db.get('VM', vm).power_state === state);
  };
  const migrate = async (vm: VmRef) => {
    const call = Promise.resolve(vms().pool_migrate(f.context(), vm, await f.joinB(), {}));
    while (f.a.migrations[0] === undefined) await new Promise((resolve) => setImmediate(resolve));
    const [{ uuid, migrationId }] = f.a.migrations as [(typeof f.a.migrations)[0]];
    f.b.domain(uuid, 'running');
    f.a.domain(uuid, undefined);
    f.a.end(migrationId, { status: 'success', report });
    await call;
  };
  for (const [what, message, act] of life) {
    it(`tells that a VM ${what}`, async () => {
      const vm = await f.runningVm({ name_label: 'web', actions_after_reboot: 'restart' });
      await act(vm);
      await f.until(() => told().at(-1) === message);
      const { uuid } = f.pool.db.get('VM', vm);
      expect(newest()).to.deep.include({ cls: 'VM', obj_uuid: uuid });
      expect(newest().body).to.match(new RegExp(`^VM web \\(${uuid}\\) `));
      expect(told().filter((each) => each === message)).to.have.lengthOf(1);
    });
  }

  it('tells of the VM of which a clone was made, and nothing of what fails', async () => {
    const vm = await f.createVm();
    const clone = await vms().clone(f.context(), vm, 'twin');
    expect(told()).to.deep.equal(['VM_CLONED 5']);
    expect(newest().obj_uuid).to.equal(f.pool.db.get('VM', vm).uuid);
    expect(newest().body).to.contain('twin').and.to.contain(f.pool.db.get('VM', clone).uuid);
    await f.failure(() => vms().pause(f.context(), vm));
    expect(told()).to.have.lengthOf(1);
  });

  it('tells of a clock that is off, once until it is right again', async () => {
    const minute = 60_000;
    const hostB = await f.joinB();
    // A host's word has been dealt with when it is asked again.
    const say = async (ahead: number): Promise<void> => {
      f.b.clock = () => Date.now() + ahead;
      for (let asked = 0; asked < 2; asked += 1) {
        const { looks } = f.b;
        f.b.emit({ kind: 'domain-gone', uuid: 'wakes the poll' });
        while (f.b.looks === looks) await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const counts: number[] = [];
    for (const ahead of [4 * minute, -6 * minute, -7 * minute, 3 * minute, 6 * minute, minute, 6 * minute]) {
      await say(ahead);
      counts.push(told().length);
    }
    expect(counts).to.deep.equal([0, 1, 1, 1, 1, 1, 2]);
    expect(newest()).to.deep.include({ name: 'HOST_CLOCK_SKEW_DETECTED', priority: 3, cls: 'Host' });
    expect(newest().obj_uuid).to.equal(f.pool.db.get('host', hostB).uuid);
    expect(newest().body).to.contain("360 s ahead of the coordinator's");
  });

  const flags: [flags: string, message: string | undefined][] = [
    ['fpu sse', undefined],
    ['fpu', 'HOST_CPU_FEATURES_DOWN 3'],
    ['sse avx', 'HOST_CPU_FEATURES_DOWN 3'],
    ['fpu sse avx', 'HOST_CPU_FEATURES_UP 5'],
  ];
  for (const [now, message] of flags) {
    it(`tells ${message ?? 'nothing'} of a host with CPUs that have ${now} and had fpu sse`, async () => {
      await f.joinB();
      const { machine, ...state } = f.b.state();
      await f.pool.join({ ...state, machine: { ...machine!, cpu: { ...machine!.cpu, flags: now } } });
      expect(told()).to.deep.equal(message === undefined ? [] : [message]);
    });
  }

  it('tells of storage that a host does not have any more', async () => {
    const [pbd] = f.pool.db.get('host', f.hostA).PBDs as [Ref<'PBD'>];
    const { uuid } = f.pool.db.get('SR', f.pool.db.get('PBD', pbd).SR);
    rmSync(join(f.a.dir, 'sr', uuid), { recursive: true });
    f = await f.restart();
    await f.until(() => told().length > 0);
    expect(told()).to.deep.equal(['PBD_PLUG_FAILED_ON_SERVER_START 3']);
    expect(newest()).to.include({ cls: 'Host', obj_uuid: uuidOf(1) });
    expect(newest().body).to.contain(uuid);
  });
});
