import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { checkSpec } from '../../../src/backend/simulator/content.js';
import { domainSpec } from '../../../src/pool/vm-records/domain-spec.js';
import { foundSpec } from '../fake-host.js';
import { type Fixture, openFixture, uuidOf } from '../fixture.js';

const uuid = uuidOf(77);

describe('A domain that no record knows', () => {
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
  });
  afterEach(() => f.close());
  const vms = () => f.pool.dispatch.handlers.VM;
  const plugin = (fn: string, args: Record<string, string> = {}, host = f.hostA) =>
    f.pool.dispatch.handlers.host.call_plugin(f.context(), host, 'domains', fn, args);
  const listed = async (host = f.hostA) =>
    (JSON.parse(await plugin('list', {}, host)) as { uuid: string }[]).map((each) => each.uuid);
  const adopt = async (args: Record<string, string> = {}, host = f.hostA) =>
    (await plugin('adopt', { uuid, ...args }, host)) as Ref<'VM'>;
  const message = () => f.pool.db.all('message').find(([, { name }]) => name === 'HOST_DOMAINS_UNKNOWN')?.[1];
  /** So that a host is looked at again, whatever happens on it. */
  const nudge = async (looks = 3): Promise<void> => {
    for (let look = 0; look < looks; look += 1) {
      const before = f.a.looks;
      f.a.emit({ kind: 'domain-gone', uuid: 'wakes the poll' });
      while (f.a.looks === before) await new Promise((resolve) => setImmediate(resolve));
    }
  };

  it('is told of once, for as long as it is there, also by a coordinator that starts anew', async () => {
    f.a.domain(uuid, 'running');
    await nudge();
    await f.until(() => message() !== undefined);
    expect(message()).to.deep.include({ priority: 3, cls: 'Host', obj_uuid: uuidOf(1) });
    expect(message()?.body).to.contain(uuid).and.to.contain('host-domain-adopt');
    f = await f.restart();
    await nudge();
    expect(f.pool.db.all('message').filter(([, { name }]) => name === 'HOST_DOMAINS_UNKNOWN')).to.have.lengthOf(1);
    f.a.domain(uuid, undefined);
    await nudge();
    expect(message()).to.equal(undefined);
  });

  it('is not told of where it migrates, and neither taken over nor destroyed', async () => {
    const refused = async (why: RegExp, fns = ['adopt', 'destroy']) => {
      await nudge();
      expect(message()).to.equal(undefined);
      for (const fn of fns) {
        const [code, reason] = await f.failure(() => plugin(fn, { uuid }));
        expect(code).to.equal('OPERATION_NOT_ALLOWED');
        expect(reason).to.match(why);
      }
    };
    f.a.domain(uuid, 'running');
    f.a.held.push(uuid);
    await refused(/migrates/);
    expect(await listed()).to.deep.equal([]);
    expect(f.a.state().domains).to.have.lengthOf(1);
    f.a.held.pop();
    for (const list of [f.a.leaving, f.a.arriving]) {
      list.push(uuid);
      await nudge();
      expect(message()).to.equal(undefined);
      list.pop();
    }
    f.a.domain(uuid, 'paused', 'migration 12 has no outcome');
    f.a.held.push(uuid);
    await refused(/migrates/);
  });

  it('becomes a VM as it runs, with what it is made of', async () => {
    f.a.domain(uuid, 'running');
    const [domain] = JSON.parse(await plugin('list')) as object[];
    const { name, memoryBytes: memory, vcpus, vgpus } = foundSpec(uuid);
    expect(domain).to.deep.equal({ uuid, name, state: 'running', domid: 1, memory, vcpus, vgpus, in_doubt: '' });
    const vm = await adopt();
    const row = f.pool.db.get('VM', vm);
    expect(row).to.deep.include({ uuid, name_label: 'found', power_state: 'Running', resident_on: f.hostA, domid: 1 });
    expect(row).to.deep.include({ memory_static_max: memory, VCPUs_max: 2, is_a_template: false });
    const { workload, settings: _settings, ...rest } = checkSpec(domainSpec(row, { vgpus: ['0'], settings: {} }));
    const { workload: made, ...all } = foundSpec(uuid);
    expect(rest).to.deep.equal(all);
    expect(workload.dirtyPagesPerSecond).to.equal(made.dirtyPagesPerSecond);
    expect(workload.workingSet).to.be.closeTo(made.workingSet, 1e-8);
    expect(row.VGPUs.map((ref) => f.pool.db.get('VGPU', ref).currently_attached)).to.deep.equal([true]);
    expect(row.allowed_operations).to.include.members(['pool_migrate', 'hard_shutdown', 'clean_reboot']);
    expect(await listed()).to.deep.equal([]);
    f = await f.restart();
    await vms().clean_reboot(f.context(), vm);
    await vms().hard_shutdown(f.context(), vm);
    expect(f.pool.db.get('VM', vm).power_state).to.equal('Halted');
    expect(f.a.state().domains).to.deep.equal([]);
  });

  it('becomes a VM of a given name on a member, paused as it is', async () => {
    const hostB = await f.joinB();
    f.b.domain(uuid, 'paused');
    expect(await listed(f.hostA)).to.deep.equal([]);
    expect(await f.failure(() => adopt())).to.deep.equal(['UUID_INVALID', 'VM', uuid]);
    const vm = await adopt({ 'name-label': 'back' }, hostB);
    expect(f.pool.db.get('VM', vm)).to.include({ name_label: 'back', power_state: 'Paused', resident_on: hostB });
  });

  it('may be a suspended VM, which goes on', async () => {
    f.a.domain(uuid, 'running');
    await f.a.service.suspend(uuid);
    await nudge();
    await f.until(() => message() !== undefined);
    const vm = await adopt();
    expect(f.pool.db.get('VM', vm).power_state).to.equal('Suspended');
    await vms().resume(f.context(), vm, false, false);
    expect(f.pool.db.get('VM', vm)).to.include({ power_state: 'Running', resident_on: f.hostA });
  });

  it('is destroyed, running or suspended, and nothing else is', async () => {
    const known = await f.runningVm();
    const { uuid: knownUuid } = f.pool.db.get('VM', known);
    for (const suspended of [false, true]) {
      f.a.domain(uuid, 'running');
      if (suspended) await f.a.service.suspend(uuid);
      expect(await plugin('destroy', { uuid })).to.equal('');
      expect(f.a.found().map((each) => each.uuid)).to.deep.equal([knownUuid]);
    }
    for (const fn of ['adopt', 'destroy']) {
      expect(await f.failure(() => plugin(fn, { uuid: knownUuid }))).to.deep.equal(['DUPLICATE_VM', known]);
      expect(await f.failure(() => plugin(fn, { uuid }))).to.deep.equal(['UUID_INVALID', 'VM', uuid]);
    }
  });

  const refusals: [what: string, why: RegExp, make: () => unknown][] = [
    ['has a copy on another host', /host b .* has a copy/, () => f.b.domain(uuid, 'paused')],
    ['is in doubt', /in doubt: given up/, () => f.a.domain(uuid, 'paused', 'given up')],
    ['has a guest that has ended', /its guest has ended/, () => f.a.endGuest(uuid, 'poweroff')],
  ];
  for (const [what, why, make] of refusals) {
    it(`is no VM where it ${what}, and can be destroyed`, async () => {
      await f.joinB();
      f.a.domain(uuid, 'running');
      make();
      const [code, reason] = await f.failure(() => adopt());
      expect(code).to.equal('OPERATION_NOT_ALLOWED');
      expect(reason).to.match(why);
      expect(f.pool.db.findByUuid('VM', uuid)).to.equal(undefined);
      await plugin('destroy', { uuid });
      expect(f.a.state().domains).to.deep.equal([]);
    });
  }

  it('is left alone where it may come to another host', async () => {
    await f.joinB();
    f.a.domain(uuid, 'running');
    f.b.arriving.push(uuid);
    for (const fn of ['adopt', 'destroy']) {
      expect((await f.failure(() => plugin(fn, { uuid })))[1]).to.match(/host b .* may have one soon/);
    }
    expect(f.a.state().domains).to.have.lengthOf(1);
  });

  it('is asked for with the arguments that there are', async () => {
    const rows: [fn: string, args: Record<string, string>, error: string[]][] = [
      ['list', { uuid }, ['INVALID_VALUE', 'uuid', uuid]],
      ['adopt', {}, ['INVALID_VALUE', 'uuid', '']],
      ['adopt', { uuid, name: 'x' }, ['INVALID_VALUE', 'name', 'x']],
      ['destroy', { uuid: '' }, ['INVALID_VALUE', 'uuid', '']],
    ];
    for (const [fn, args, error] of rows) expect(await f.failure(() => plugin(fn, args))).to.deep.equal(error);
    expect((await f.failure(() => plugin('toString')))[0]).to.equal('XENAPI_PLUGIN_FAILURE');
  });
});

describe('A VM whose record is older than what its host does', () => {
  let f: Fixture;
  let hostB: Ref<'host'>;
  beforeEach(async () => {
    f = await openFixture();
    hostB = await f.joinB();
  });
  afterEach(() => f.close());
  const row = (vm: Ref<'VM'>) => f.pool.db.get('VM', vm);

  it('runs where it is found, when its record has it halted', async () => {
    const vm = await f.createVm();
    f.b.domain(row(vm).uuid, 'running');
    await f.until(() => row(vm).power_state === 'Running');
    expect(row(vm)).to.include({ resident_on: hostB });
  });

  it('runs where it is found, when the host where its record has it has nothing of it', async () => {
    const vm = await f.runningVm();
    f.a.lose(row(vm).uuid);
    f.b.domain(row(vm).uuid, 'running');
    await f.until(() => row(vm).resident_on === hostB);
    expect(row(vm)).to.deep.include({ power_state: 'Running' });
    expect(f.b.doubted).to.deep.equal([]);
    expect(f.pool.db.all('message').map(([, { name }]) => name)).to.not.include('VM_COPY_LEFT_BEHIND');
  });

  const elsewhere: [what: string, make: (uuid: string) => void][] = [
    ['has it', () => undefined],
    ['does not answer', () => (f.a.reachable = false)],
    ['has sent it, with an outcome that is not known', (uuid) => f.a.leaving.push(uuid)],
    ['may yet take it', (uuid) => f.a.arriving.push(uuid)],
  ];
  for (const [what, make] of elsewhere) {
    it(`is paused, in doubt, where the host where its record has it ${what}`, async () => {
      const vm = await f.runningVm();
      const { uuid } = row(vm);
      if (what.startsWith('has sent') || what.startsWith('may yet')) f.a.lose(uuid);
      f.b.domain(uuid, 'running');
      make(uuid);
      await f.until(() => row(vm).other_config['xenferry:left-behind'] !== undefined);
      while (f.b.doubted.length === 0) await new Promise((resolve) => setImmediate(resolve));
      expect(f.b.doubted.map(([doubted]) => doubted)).to.deep.equal([uuid]);
      expect(row(vm).resident_on).to.equal(f.hostA);
    });
  }
});
