import { expect } from 'chai';
import { enums, type Ref } from '../../../idl/index.js';
import { nullRef } from '../../../src/model/value.js';
import type { VmOperation } from '../../../src/pool/vm-records/vm-operation-rules.js';
import { gib } from '../fake-host.js';
import { type Fixture, openFixture } from '../fixture.js';

type Vm = Ref<'VM'>;

/** What allowed_operations names is what is accepted: each operation is called in each state, on a VM of its own. */
describe('allowed_operations of a VM', () => {
  let f: Fixture;
  before(async () => {
    f = await openFixture();
    f.a.memoryFree = 1000 * gib;
  });
  after(() => f.close());
  const VM = () => f.pool.dispatch.handlers.VM;
  const allowed = (vm: Vm) => f.pool.db.get('VM', vm).allowed_operations;

  const states: Record<string, () => Promise<Vm>> = {
    halted: () => f.createVm(),
    running: () => f.runningVm(),
    async paused() {
      const vm = await f.runningVm();
      await VM().pause(f.context(), vm);
      return vm;
    },
    async suspended() {
      const vm = await f.runningVm();
      await VM().suspend(f.context(), vm);
      return vm;
    },
    'a template': () => f.createVm({ is_a_template: true }),
    async 'a default template'() {
      const vm = await f.createVm({ is_a_template: true });
      await VM().set_is_default_template(f.context(), vm, true);
      return vm;
    },
  };

  const calls: Partial<Record<VmOperation, (vm: Vm) => unknown>> = {
    clone: (vm) => VM().clone(f.context(), vm, 'clone'),
    copy: (vm) => VM().copy(f.context(), vm, 'copy', nullRef as Ref<'SR'>),
    provision: (vm) => VM().provision(f.context(), vm),
    start: (vm) => VM().start(f.context(), vm, false, false),
    start_on: (vm) => VM().start_on(f.context(), vm, f.hostA, false, false),
    pause: (vm) => VM().pause(f.context(), vm),
    unpause: (vm) => VM().unpause(f.context(), vm),
    clean_shutdown: (vm) => VM().clean_shutdown(f.context(), vm),
    hard_shutdown: (vm) => VM().hard_shutdown(f.context(), vm),
    clean_reboot: (vm) => VM().clean_reboot(f.context(), vm),
    hard_reboot: (vm) => VM().hard_reboot(f.context(), vm),
    suspend: (vm) => VM().suspend(f.context(), vm),
    resume: (vm) => VM().resume(f.context(), vm, false, false),
    resume_on: (vm) => VM().resume_on(f.context(), vm, f.hostA, false, false),
    destroy: (vm) => VM().destroy(f.context(), vm),
    changing_dynamic_range: (vm) => VM().set_memory_dynamic_range(f.context(), vm, gib, gib),
    changing_static_range: (vm) => VM().set_memory_static_range(f.context(), vm, 0, gib),
    changing_shadow_memory: (vm) => VM().set_HVM_shadow_multiplier(f.context(), vm, 2),
    changing_NVRAM: (vm) => VM().set_NVRAM(f.context(), vm, {}),
  };

  for (const [state, make] of Object.entries(states)) {
    it(`are what is accepted while it is ${state}`, async () => {
      const listed = allowed(await make());
      for (const [operation, call] of Object.entries(calls) as [VmOperation, (vm: Vm) => unknown][]) {
        const vm = await make();
        const valid = await f.failure(() => VM().assert_operation_valid(f.context(), vm, operation));
        const done = await f.failure(() => call(vm));
        expect([valid.length === 0, done.length === 0], operation).to.deep.equal(
          Array(2).fill(listed.includes(operation)),
        );
        const after = f.pool.db.find('VM', vm);
        if (after !== undefined) expect(after.current_operations, operation).to.deep.equal({});
      }
    });
  }

  it('are made anew when they are asked for', async () => {
    const vm = await f.createVm();
    const before = allowed(vm);
    f.pool.db.update('VM', vm, { allowed_operations: [] });
    await VM().update_allowed_operations(f.context(), vm);
    expect(allowed(vm)).to.deep.equal(before).and.not.to.deep.equal([]);
  });

  it('leave out what does not go with the operation that runs', async () => {
    for (const make of [() => f.createVm(), () => f.runningVm()]) {
      const vm = await make();
      const before = allowed(vm);
      for (const running of enums.vm_operations) {
        f.pool.db.putInMap('VM', vm, 'current_operations', 'task', running);
        const beside = /^(clone|copy)$/.test(running)
          ? ['clone', 'copy']
          : /^(pool_migrate|migrate_send)$/.test(running)
            ? ['hard_shutdown', 'hard_reboot']
            : [];
        expect(allowed(vm), running).to.have.members(before.filter((operation) => beside.includes(operation)));
        f.pool.db.removeFromMap('VM', vm, 'current_operations', 'task');
      }
      expect(allowed(vm)).to.deep.equal(before);
    }
  });
});
