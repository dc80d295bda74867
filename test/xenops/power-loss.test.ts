import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { Backend } from '../../src/backend/backend.js';
import { nullLog } from '../../src/base/log.js';
import { openStore, type Store } from '../../src/base/store/store.js';
import { findDomain } from '../../src/xenops/perform.js';
import { createSuspended } from '../../src/xenops/suspended.js';
import { type Lab, openLab } from '../emu-manager/harness.js';
import { testDomain } from '../support/hosts.js';
import { testLimits } from '../support/limits.js';
import { type Loss, type SlowDisk, watchFlushes } from '../support/slow-disk.js';

describe('A suspended VM, when the power is lost,', function () {
  this.timeout(60_000);
  let lab: Lab;
  let disk: SlowDisk;
  let at: string;
  let store: Store;
  before(async () => {
    lab = await openLab();
  });
  after(() => lab.close());
  beforeEach(async () => {
    disk = await watchFlushes();
    at = fs.mkdtempSync(path.join(lab.directory, 'host-'));
    store = openStore(path.join(at, 'db'));
  });
  afterEach(async () => {
    await store.close();
    disk.close();
  });
  const open = (of: string, from: Store, backend: Backend) =>
    createSuspended({
      ...{ store: from, backend, directory: path.join(of, 'suspend'), log: nullLog },
      limits: () => testLimits,
    });
  /** What is there after the next start, whose hypervisor has no domain yet. */
  const restore = async (loss: Loss, names: 'flushed' | 'all') => {
    const to = fs.mkdtempSync(path.join(lab.directory, 'left-'));
    loss.restore(to, names);
    const left = openStore(path.join(to, 'db'));
    const suspended = open(to, left, { ...lab.simulator, list: async () => [] });
    await suspended.recover();
    return { suspended, close: () => suspended.close().then(() => left.close()) };
  };

  it('is whole once it was saved, and runs until then', async () => {
    const { simulator } = lab;
    const losses: Loss[] = [];
    const lose = () => void losses.push(disk.lose(at));
    const spec = testDomain({ memoryBytes: 4 << 20, vgpus: ['0'] });
    const handle = await simulator.create(spec);
    await simulator.build(handle);
    await simulator.unpause(handle, 'go');
    const domain = async () => findDomain(simulator, spec.uuid);
    while (((await simulator.list())[0]?.pagesWritten ?? 0) < 100) await delay(5);
    const saving = open(at, store, { ...simulator, pause: (...args) => simulator.pause(...args).then(lose) });
    const running = await domain();
    if (running === undefined) throw new Error('it does not run');
    await saving.save(running);
    lose();
    await saving.close();
    await simulator.destroy(handle);
    for (const names of ['flushed', 'all'] as const) {
      const [before, after] = [await restore(losses[0] as Loss, names), await restore(losses[1] as Loss, names)];
      expect(before.suspended.list()).to.deep.equal([]);
      expect(after.suspended.list()).to.deep.equal([spec.uuid]);
      const restored = await after.suspended.restore(spec.uuid);
      expect((await simulator.verify(restored)).badPages).to.equal(0);
      await simulator.destroy(restored);
      await before.close();
      await after.close();
    }
  });

  it('that has arrived is kept once that was said', async () => {
    const spec = testDomain();
    const row = { uuid: spec.uuid, state: 'arriving', image: 'the migration', wasRunning: true, spec };
    await store.table('suspended').put(spec.uuid, row);
    const suspended = open(at, store, lab.simulator);
    await suspended.keep(spec.uuid, 'the migration');
    const after = await restore(disk.lose(at), 'flushed');
    expect(after.suspended.list()).to.deep.equal([spec.uuid]);
    await after.close();
    await suspended.close();
  });
});
