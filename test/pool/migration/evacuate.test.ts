import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../../src/base/errors.js';
import type { MigrateRequest } from '../../../src/host/service/service.js';
import { formatDatetime, nullRef } from '../../../src/model/value.js';
import { gib, report } from '../fake-host.js';
import { type Fixture, openFixture, uuidOf } from '../fixture.js';
import { requestTo } from './migration-lab.js';

const none = nullRef as Ref<'network'>;

describe('host.evacuate', () => {
  let f: Fixture;
  let hostB: Ref<'host'>;
  beforeEach(async () => {
    f = await openFixture();
    hostB = await f.joinB();
  });
  afterEach(() => f.close());

  const handlers = () => f.pool.dispatch.handlers.host;
  const vms = async (count: number) => {
    const made: Ref<'VM'>[] = [];
    for (let i = 0; i < count; i += 1) made.push(await f.runningVm({ name_label: `vm${i}` }));
    return made;
  };
  const asked = (number: number) => requestTo(f.a, number);
  const take = (request: MigrateRequest): void => {
    f.b.domain(request.uuid, 'running');
    f.a.domain(request.uuid, undefined);
    f.a.end(request.migrationId, { status: 'success', report });
  };
  const failed = (request: MigrateRequest, code: 'VM_MIGRATE_FAILED' | 'TASK_CANCELLED', params: string[]): void => {
    const status = code === 'TASK_CANCELLED' ? 'cancelled' : 'failure';
    f.a.end(request.migrationId, { status, error: { code, params } });
  };
  const begin = (batch: number, task = f.task('Async.host.evacuate'), network = none) => {
    const call = Promise.resolve(handlers().evacuate(f.context(task), f.hostA, network, batch));
    call.catch(() => undefined);
    return { task, call };
  };
  const home = (vm: Ref<'VM'>) => f.pool.db.get('VM', vm).resident_on;

  it('moves every VM, so many at a time, each in a task below its own, and shows how far it is', async () => {
    const all = await vms(3);
    const { task, call } = begin(2);
    await asked(2);
    await f.pool.db.saved();
    expect(f.a.migrations).to.have.length(2);
    const row = () => f.pool.db.get('task', task.ref);
    expect(row().subtasks).to.have.length(2);
    expect(row().allowed_operations).to.deep.equal(['cancel']);
    expect(f.pool.db.get('host', f.hostA)).to.deep.include({ current_operations: { [task.ref]: 'evacuate' } });
    expect(f.pool.db.get('host', f.hostA).allowed_operations).to.deep.equal(['vm_start']);
    expect(await f.failure(() => handlers().evacuate(f.context(), f.hostA, none, 0))).to.deep.equal([
      'OTHER_OPERATION_IN_PROGRESS',
      'host',
      f.hostA,
      'evacuate',
      task.ref,
    ]);
    take(await asked(1));
    take(await asked(3));
    await f.until(() => row().progress > 0.6);
    take(await asked(2));
    await call;
    expect(all.map(home)).to.deep.equal([hostB, hostB, hostB]);
    expect(row().subtasks).to.deep.equal([]);
    expect(f.pool.db.get('host', f.hostA).current_operations).to.deep.equal({});
  });

  it('is done at once where there is nothing to move', async () => {
    await begin(0).call;
    expect(f.a.migrations).to.deep.equal([]);
  });

  it('lets the others end when one fails, and names the VMs that stay', async () => {
    const all = await vms(3);
    const { call } = begin(0);
    const requests = [await asked(1), await asked(2), await asked(3)];
    const refOf = (request: MigrateRequest) => f.pool.db.byUuid('VM', request.uuid);
    const [bad, ended, good] = requests as [MigrateRequest, MigrateRequest, MigrateRequest];
    failed(bad, 'VM_MIGRATE_FAILED', [refOf(bad), 'a', 'b', 'the cable is out']);
    f.a.domain(ended.uuid, undefined);
    failed(ended, 'VM_MIGRATE_FAILED', [refOf(ended), 'a', 'b', 'it shut down']);
    take(good);
    const [code, errors, ...rest] = await f.failure(() => call);
    expect([code, rest]).to.deep.equal(['CANNOT_EVACUATE_HOST', []]);
    expect(errors).to.match(/^VM_MIGRATE_FAILED,[^|]*,a,b,the cable is out; [^|]*$/);
    expect(errors).to.include(refOf(bad));
    expect(home(refOf(good))).to.equal(hostB);
    expect(home(refOf(bad))).to.equal(f.hostA);
    expect(f.pool.db.get('VM', refOf(ended)).power_state).to.equal('Halted');
    expect(all).to.have.members(requests.map(refOf));
  });

  it('names a VM whose error does not', async () => {
    const [vm] = await vms(1);
    f.a.refuse = new XapiError('TOO_MANY_STORAGE_MIGRATES', ['3']);
    expect(await f.failure(() => begin(0).call)).to.deep.equal([
      'CANNOT_EVACUATE_HOST',
      `TOO_MANY_STORAGE_MIGRATES,${vm},3`,
    ]);
    f.a.refuse = undefined;
  });

  it('names a VM that was started meanwhile', async () => {
    await vms(1);
    const { call } = begin(0);
    const request = await asked(1);
    const [late] = await vms(1);
    take(request);
    expect(await f.failure(() => call)).to.deep.equal(['CANNOT_EVACUATE_HOST', `HOST_IN_USE,${f.hostA},VM,${late}`]);
  });

  it('stops when its task is cancelled: what runs is cancelled, the rest does not start', async () => {
    const all = await vms(3);
    const { task, call } = begin(1);
    const request = await asked(1);
    await f.until(() =>
      f.pool.db.all('task').some(([, row]) => row.allowed_operations.includes('cancel') && row.subtask_of === task.ref),
    );
    f.pool.dispatch.handlers.task.cancel(f.context(), task.ref);
    while (f.a.cancelled.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(f.a.cancelled).to.deep.equal([request.migrationId]);
    failed(request, 'TASK_CANCELLED', []);
    expect(await f.failure(() => call)).to.deep.equal(['TASK_CANCELLED', task.ref]);
    expect(all.map(home)).to.deep.equal([f.hostA, f.hostA, f.hostA]);
    expect(f.a.migrations).to.have.length(1);
  });

  it('takes the network that it is given, and refuses one on which a destination is not', async () => {
    await vms(1);
    const { db } = f.pool;
    const [network] = db.all('network').map(([ref]) => ref);
    const island = db.create('network', { name_label: 'island', bridge: 'xapi7' });
    expect(await f.failure(() => begin(0, f.task(), island).call)).to.deep.equal([
      'HOST_CANNOT_ATTACH_NETWORK',
      hostB,
      island,
    ]);
    const { call } = begin(0, f.task(), network);
    take(await asked(1));
    await call;
  });

  describe('is refused, and nothing starts,', () => {
    const prevent = async () => [
      await handlers().get_vms_which_prevent_evacuation(f.context(), f.hostA),
      await f.failure(() => handlers().assert_can_evacuate(f.context(), f.hostA)),
      await f.failure(() => begin(0).call),
    ];

    it('where no other host takes VMs', async () => {
      const [a, b] = await vms(2);
      await handlers().disable(f.context(), hostB, true);
      const [map, assertion, failure] = await prevent();
      expect(map).to.deep.equal({ [a!]: ['NO_HOSTS_AVAILABLE', a], [b!]: ['NO_HOSTS_AVAILABLE', b] });
      const all = ['CANNOT_EVACUATE_HOST', `NO_HOSTS_AVAILABLE,${a}|NO_HOSTS_AVAILABLE,${b}`];
      expect(assertion).to.deep.equal(all);
      expect(failure).to.deep.equal(all);
      expect(f.a.migrations).to.deep.equal([]);
    });

    it('where memory is short', async () => {
      const made = await vms(3);
      f.b.memoryFree = 2 * gib;
      const [map, , failure] = (await prevent()) as [Record<string, string[]>, unknown, string[]];
      const [[stuck, error]] = Object.entries(map) as [[Ref<'VM'>, string[]]];
      expect(Object.keys(map)).to.have.length(1);
      expect(made).to.include(stuck);
      expect(error).to.deep.equal(['HOST_NOT_ENOUGH_FREE_MEMORY', stuck]);
      expect(failure).to.deep.equal(['HOST_NOT_ENOUGH_FREE_MEMORY', stuck]);
      expect(f.a.migrations).to.deep.equal([]);
    });

    it('where a disk is on local storage, or a migration is blocked', async () => {
      const { db } = f.pool;
      const [vm, blocked] = (await vms(2)) as [Ref<'VM'>, Ref<'VM'>];
      db.update('VM', blocked, { blocked_operations: { pool_migrate: 'do not touch' } });
      const [pool] = db.all('pool').map(([, row]) => row);
      const vdi = db.create('VDI', { SR: pool!.default_SR, virtual_size: 512, managed: true });
      db.create('VBD', { VM: vm, VDI: vdi, type: 'Disk', userdevice: '0', currently_attached: true });
      const [map] = await prevent();
      expect(map).to.deep.equal({
        [vm]: ['VM_REQUIRES_SR', vm, pool!.default_SR],
        [blocked]: ['OPERATION_BLOCKED', blocked, 'do not touch'],
      });
    });

    it('where the host does not answer, or is none', async () => {
      const [vm = ''] = await vms(1);
      const { db } = f.pool;
      db.update('host_metrics', db.get('host', f.hostA).metrics, { live: false });
      expect(await handlers().get_vms_which_prevent_evacuation(f.context(), f.hostA)).to.deep.equal({
        [vm]: ['HOST_OFFLINE', f.hostA],
      });
      expect(await f.failure(() => begin(0).call)).to.deep.equal(['HOST_OFFLINE', f.hostA]);
      const missing = 'OpaqueRef:missing' as Ref<'host'>;
      expect(await f.failure(() => handlers().evacuate(f.context(), missing, none, 0))).to.deep.equal([
        'HANDLE_INVALID',
        'host',
        missing,
      ]);
    });
  });
});

describe('host', () => {
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
  });
  afterEach(() => f.close());
  const handlers = () => f.pool.dispatch.handlers.host;
  const row = () => f.pool.db.get('host', f.hostA);

  it('starts no VM while it is disabled', async () => {
    await handlers().disable(f.context(), f.hostA, true);
    expect(row()).to.deep.include({ enabled: false, allowed_operations: ['enable', 'evacuate'] });
    const vm = await f.createVm();
    const start = () => f.pool.dispatch.handlers.VM.start_on(f.context(), vm, f.hostA, false, false);
    expect(await f.failure(start)).to.deep.equal(['HOST_DISABLED', f.hostA]);
    await handlers().enable(f.context(), f.hostA);
    expect(row().enabled).to.equal(true);
    expect(row().allowed_operations).to.include.members(['provision', 'vm_start', 'vm_migrate', 'evacuate']);
    await start();
  });

  for (const [autoEnable, enabled] of [
    [true, true],
    [false, false],
  ] as const) {
    it(`is ${enabled ? 'enabled again' : 'still disabled'} after its daemon starts anew, disabled with auto_enable=${autoEnable}`, async () => {
      await handlers().disable(f.context(), f.hostA, autoEnable);
      f = await f.restart();
      expect(row().enabled).to.equal(enabled);
      await handlers().enable(f.context(), f.hostA);
      f = await f.restart();
      expect(row().enabled).to.equal(true);
    });
  }

  it('has whole records: CPUs, interface, version', async () => {
    const { db } = f.pool;
    expect(row().host_CPUs).to.have.length(4);
    expect(row().host_CPUs.map((cpu) => db.get('host_cpu', cpu).number)).to.deep.equal([0, 1, 2, 3]);
    const [pif] = row().PIFs;
    expect(await handlers().get_management_interface(f.context(), f.hostA)).to.equal(pif);
    expect(db.get('PIF_metrics', db.get('PIF', pif!).metrics).carrier).to.equal(true);
    expect(row().software_version).to.include({ product_version: '8.3.0', hostname: 'a', xenferry: '0.0.0' });
    expect(await handlers().compute_memory_overhead(f.context(), f.hostA)).to.equal(0);
    expect(await handlers().compute_free_memory(f.context(), f.hostA)).to.equal(f.a.memoryFree);
    expect(await handlers().get_uncooperative_resident_VMs(f.context(), f.hostA)).to.deep.equal([]);
    const { unplug, plug } = f.pool.dispatch.handlers.PIF;
    expect(await f.failure(() => unplug(f.context(), pif!))).to.deep.equal(['PIF_IS_MANAGEMENT_INTERFACE', pif]);
    await plug(f.context(), pif!);
  });

  it('tells the time of the host that is asked, by its own clock and in its own zone', async () => {
    const hostB = await f.joinB();
    f.a.clock = () => Date.UTC(2026, 4, 3, 2, 1, 0);
    f.b.clock = () => Date.UTC(2026, 4, 3, 2, 1, 30);
    f.b.utcOffset = 345;
    const shown = async (host: Ref<'host'>) => [
      formatDatetime(await handlers().get_servertime(f.context(), host)),
      formatDatetime(await handlers().get_server_localtime(f.context(), host)),
    ];
    expect(await shown(f.hostA)).to.deep.equal(['20260503T02:01:00Z', '20260503T02:01:00']);
    expect(await shown(hostB)).to.deep.equal(['20260503T02:01:30Z', '20260503T07:46:30']);
    f.b.reachable = false;
    for (const ask of [handlers().get_servertime, handlers().get_server_localtime]) {
      expect(await f.failure(() => ask(f.context(), hostB))).to.deep.equal(['HOST_OFFLINE', hostB]);
    }
  });

  it('brings its CPUs to what its daemon says', async () => {
    const hostB = await f.joinB();
    const { db } = f.pool;
    await f.pool.join({
      ...f.b.state(),
      cpus: 2,
      machine: { ...f.b.machine, cpu: { ...f.b.machine.cpu, modelname: 'M' } },
    });
    const cpus = db.get('host', hostB).host_CPUs.map((cpu) => db.get('host_cpu', cpu));
    expect(cpus.map(({ number, modelname }) => [number, modelname])).to.deep.equal([
      [0, 'M'],
      [1, 'M'],
    ]);
    expect(db.byUuid('host', uuidOf(2))).to.equal(hostB);
  });
});
