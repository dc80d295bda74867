import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { type Fixture, openFixture } from '../fixture.js';

const mebibyte = 2 ** 20;

describe("a VM's memory and virtual CPUs", () => {
  let f: Fixture;
  let vm: Ref<'VM'>;
  before(async () => {
    f = await openFixture();
  });
  after(() => f.close());
  beforeEach(async () => {
    vm = await f.createVm();
    await handlers().set_memory_limits(f.context(), vm, 0, 64 * mebibyte, 32 * mebibyte, 48 * mebibyte);
  });
  const handlers = () => f.pool.dispatch.handlers.VM;
  type Handlers = ReturnType<typeof handlers>;
  const limits = () => {
    const { memory_static_min, memory_dynamic_min, memory_dynamic_max, memory_static_max } = f.pool.db.get('VM', vm);
    return [memory_static_min, memory_dynamic_min, memory_dynamic_max, memory_static_max].map((b) => b / mebibyte);
  };

  const changes: [what: string, call: (h: Handlers) => unknown, limits: number[]][] = [
    ['set_memory', (h) => h.set_memory(f.context(), vm, 16 * mebibyte), [0, 16, 16, 16]],
    ['set_memory_static_min', (h) => h.set_memory_static_min(f.context(), vm, 8 * mebibyte), [8, 32, 48, 64]],
    ['set_memory_static_max', (h) => h.set_memory_static_max(f.context(), vm, 128 * mebibyte), [0, 32, 48, 128]],
    [
      'set_memory_static_range',
      (h) => h.set_memory_static_range(f.context(), vm, 8 * mebibyte, 96 * mebibyte),
      [8, 32, 48, 96],
    ],
    ['set_memory_dynamic_min', (h) => h.set_memory_dynamic_min(f.context(), vm, 8 * mebibyte), [0, 8, 48, 64]],
    ['set_memory_dynamic_max', (h) => h.set_memory_dynamic_max(f.context(), vm, 64 * mebibyte), [0, 32, 64, 64]],
    [
      'set_memory_dynamic_range',
      (h) => h.set_memory_dynamic_range(f.context(), vm, 64 * mebibyte, 64 * mebibyte),
      [0, 64, 64, 64],
    ],
  ];
  for (const [what, call, expected] of changes) {
    it(`changes by ${what}`, async () => {
      await call(handlers());
      expect(limits()).to.deep.equal(expected);
      expect(f.pool.db.get('VM', vm).memory_target).to.equal(f.pool.db.get('VM', vm).memory_dynamic_min);
    });
  }

  it('has a target that is given, then what its guest has while there is one, and none after that', async () => {
    const target = () => f.pool.db.get('VM', vm).memory_target / mebibyte;
    vm = await f.createVm({ memory_target: 40 * mebibyte });
    expect(target()).to.equal(40);
    await handlers().start(f.context(), vm, false, false);
    expect(target()).to.equal(1024);
    await handlers().hard_shutdown(f.context(), vm);
    expect(target()).to.equal(0);
    await handlers().set_memory_dynamic_range(f.context(), vm, 8 * mebibyte, 16 * mebibyte);
    expect(target()).to.equal(8);
  });

  const order = ['MEMORY_CONSTRAINT_VIOLATION_ORDER'];
  const wrong: [what: string, call: (h: Handlers) => unknown, error: string[]][] = [
    ['less than the least', (h) => h.set_memory_static_min(f.context(), vm, 33 * mebibyte), order],
    ['a static below the dynamic one', (h) => h.set_memory_static_max(f.context(), vm, 47 * mebibyte), order],
    ['a dynamic above the static one', (h) => h.set_memory_dynamic_max(f.context(), vm, 65 * mebibyte), order],
    ['less than nothing', (h) => h.set_memory_static_min(f.context(), vm, -1), order],
    ['a range upside down', (h) => h.set_memory_dynamic_range(f.context(), vm, 48 * mebibyte, 32 * mebibyte), order],
    ['no memory', (h) => h.set_memory(f.context(), vm, 0), ['INVALID_VALUE', 'memory_static_max', '0']],
    [
      'more than there are exact numbers for',
      (h) => h.set_memory(f.context(), vm, Number.MAX_SAFE_INTEGER),
      ['INVALID_VALUE', 'memory_static_max', '9007199254740991'],
    ],
    ['fewer CPUs than it starts with', (h) => h.set_VCPUs_max(f.context(), vm, 0), ['INVALID_VALUE', 'VCPUs_max', '0']],
    [
      'more CPUs than it has',
      (h) => h.set_VCPUs_at_startup(f.context(), vm, 2),
      ['INVALID_VALUE', 'VCPUs_at_startup', '2'],
    ],
    [
      'a shadow of less than nothing',
      (h) => h.set_HVM_shadow_multiplier(f.context(), vm, -1),
      ['INVALID_VALUE', 'HVM_shadow_multiplier', '-1'],
    ],
  ];
  for (const [what, call, expected] of wrong) {
    it(`is not ${what}`, async () => {
      expect(await f.failure(() => call(handlers()))).to.deep.equal(expected);
      expect(limits()).to.deep.equal([0, 32, 48, 64]);
    });
  }

  it('is what the next domain has', async () => {
    await handlers().set_memory(f.context(), vm, 16 * mebibyte);
    await handlers().set_VCPUs_max(f.context(), vm, 3);
    await handlers().set_VCPUs_at_startup(f.context(), vm, 2);
    await handlers().start(f.context(), vm, false, false);
    expect(f.a.started.at(-1)).to.include({ memoryBytes: 16 * mebibyte, vcpus: 3 });
    const { metrics } = f.pool.db.get('VM', vm);
    expect(f.pool.db.get('VM_metrics', metrics)).to.include({ memory_actual: 16 * mebibyte, VCPUs_number: 3 });
    const calls: (() => unknown)[] = [
      () => handlers().set_memory(f.context(), vm, 8 * mebibyte),
      () => handlers().set_memory_limits(f.context(), vm, 0, 8 * mebibyte, 0, 0),
      () => handlers().set_memory_static_max(f.context(), vm, 8 * mebibyte),
      () => handlers().set_VCPUs_max(f.context(), vm, 4),
      () => handlers().set_VCPUs_at_startup(f.context(), vm, 1),
      () => handlers().set_HVM_shadow_multiplier(f.context(), vm, 2),
      () => handlers().set_NVRAM(f.context(), vm, {}),
    ];
    for (const call of calls) {
      expect(await f.failure(call)).to.deep.equal(['VM_BAD_POWER_STATE', vm, 'halted', 'running']);
    }
    await handlers().set_memory_dynamic_range(f.context(), vm, 8 * mebibyte, 16 * mebibyte);
    expect(limits()).to.deep.equal([0, 8, 16, 16]);
  });

  for (const bytes of [1, 64 * mebibyte + 1, 64 * mebibyte + 2048, 65 * mebibyte - 1]) {
    it(`may be ${bytes} bytes, which its domain has rounded up to whole MiB`, async () => {
      await handlers().set_memory_limits(f.context(), vm, 0, bytes, 0, 0);
      expect(f.pool.db.get('VM', vm)).to.include({ memory_static_max: bytes });
      await handlers().start(f.context(), vm, false, false);
      const whole = Math.ceil(bytes / mebibyte) * mebibyte;
      expect(f.a.started.at(-1)).to.include({ memoryBytes: whole });
      expect(f.pool.db.get('VM_metrics', f.pool.db.get('VM', vm).metrics)).to.include({ memory_actual: whole });
    });
  }

  it('has no overhead', async () => {
    expect(await handlers().compute_memory_overhead(f.context(), vm)).to.equal(0);
    expect(await handlers().maximise_memory(f.context(), vm, 10 * mebibyte + 5, true)).to.equal(10 * mebibyte);
    expect(await handlers().get_cooperative(f.context(), vm)).to.equal(true);
  });

  it('has settings with rules of their own', async () => {
    const row = () => f.pool.db.get('VM', vm);
    await handlers().add_to_NVRAM(f.context(), vm, 'EFI-variables', 'x');
    expect(row().NVRAM).to.deep.equal({ 'EFI-variables': 'x' });
    await handlers().remove_from_NVRAM(f.context(), vm, 'EFI-variables');
    await handlers().set_ha_restart_priority(f.context(), vm, 'best-effort');
    expect(row()).to.deep.include({ NVRAM: {}, ha_restart_priority: 'best-effort' });
    await handlers().set_ha_always_run(f.context(), vm, true);
    expect(row().ha_restart_priority).to.equal('restart');
    expect((await f.failure(() => handlers().set_ha_restart_priority(f.context(), vm, 'often')))[0]).to.equal(
      'INVALID_VALUE',
    );
    expect((await f.failure(() => handlers().set_domain_type(f.context(), vm, 'pv')))[0]).to.equal('INVALID_VALUE');
    await handlers().set_has_vendor_device(f.context(), vm, false);
    expect(row().has_vendor_device).to.equal(false);
  });

  it('answers what nothing is known of with nothing', async () => {
    expect(await handlers().get_data_sources(f.context(), vm)).to.deep.equal([]);
    expect(await handlers().query_services(f.context(), vm)).to.deep.equal({});
    expect(await handlers().retrieve_wlb_recommendations(f.context(), vm)).to.deep.equal({});
    expect(await handlers().get_boot_record(f.context(), vm)).to.deep.include({ name_label: 'vm' });
    const gone = 'OpaqueRef:gone' as Ref<'VM'>;
    expect(await f.failure(() => handlers().query_services(f.context(), gone))).to.deep.equal([
      'HANDLE_INVALID',
      'VM',
      gone,
    ]);
  });
});
