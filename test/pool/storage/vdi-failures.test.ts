/** Disks that are made, copied or resized where that fails, is cancelled or is cut off: none is left, and those that were there are as they were. */
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { XapiError } from '../../../src/base/errors.js';
import type { RowChange, Store } from '../../../src/base/store/store.js';
import { nullRef, recordWithDefaults } from '../../../src/model/value.js';
import type { OpenVolume } from '../../../src/pool/storage/volume-journal.js';
import { type HeldCopies, holdCopies } from '../../support/held-cp.js';
import { type Fixture, openFixture, uuidOf } from '../fixture.js';
import { mib, noVdi, storageLab } from './storage-lab.js';

describe('virtual disks, where what makes or changes them fails', () => {
  let f: Fixture;
  let lab: ReturnType<typeof storageLab>;
  let held: HeldCopies | undefined;
  const enter = (fixture: Fixture): void => {
    f = fixture;
    lab = storageLab(f);
  };
  beforeEach(async () => enter(await openFixture()));
  afterEach(async () => {
    held?.close();
    held = undefined;
    await f.close();
  });
  const journal = () => [...f.store.table<OpenVolume>('volumes').entries()];
  /** A VM that has so many disks with data. */
  const vmWithDisks = async (count: number): Promise<Ref<'VM'>> => {
    const VM = await f.createVm();
    for (let device = 0; device < count; device += 1) {
      const VDI = await diskWithData();
      const vbd = { ...(recordWithDefaults('VBD') as RecordOf<'VBD'>), VM, VDI, userdevice: String(device) };
      await lab.handlers.VBD.create(f.context(), { ...vbd, mode: 'RW', type: 'Disk' });
    }
    return VM;
  };
  const diskWithData = async (): Promise<Ref<'VDI'>> => {
    const vdi = await lab.createVdi({ virtual_size: 2 * mib });
    fs.writeFileSync(lab.fileOf(vdi), Buffer.alloc(2 * mib, 'data'));
    return vdi;
  };
  /** What there is: files with their sizes, and records that have to do with disks. */
  const everything = () => ({
    files: fs
      .readdirSync(lab.dirOf())
      .sort()
      .map((name) => [name, fs.statSync(path.join(lab.dirOf(), name)).size]),
    disks: f.pool.db.all('VDI').map(([ref, row]) => [ref, row.virtual_size, row.current_operations]),
    drives: f.pool.db.all('VBD').map(([ref]) => ref),
    vms: f.pool.db.all('VM').map(([ref, row]) => [ref, row.is_a_template, row.other_config, row.VBDs]),
    sr: [lab.srRow().current_operations, lab.srRow().virtual_allocation],
  });

  /** Let no write succeed from the one of this number to the journal of volumes on. @returns ends that, and waits for what was to be written */
  const refuseWrites = (from: number): (() => Promise<void>) => {
    const store = f.store as { putMany: Store['putMany'] };
    const { putMany } = store;
    let count = 0;
    store.putMany = async (changes: readonly RowChange[]) => {
      if (changes.some(({ table }) => table === 'volumes')) count += 1;
      if (count >= from) throw new XapiError('OUT_OF_SPACE', ['/db']);
      return putMany(changes);
    };
    return async () => {
      store.putMany = putMany;
      // One that is under way fails still.
      await f.pool.db.saved().catch(f.pool.db.saved);
    };
  };

  const order = '<provision><disk device="0" size="4096" sr=""/><disk device="1" size="8192" sr=""/></provision>';
  const operations: [name: string, prepare: () => Promise<() => unknown>][] = [
    ['VDI.create', async () => () => lab.createVdi()],
    ...(['clone', 'snapshot'] as const).map((name): [string, () => Promise<() => unknown>] => [
      `VDI.${name}`,
      async () => {
        const vdi = await diskWithData();
        return () => lab.handlers.VDI[name](f.context(), vdi, {});
      },
    ]),
    [
      'VDI.copy',
      async () => {
        const vdi = await diskWithData();
        return () => lab.handlers.VDI.copy(f.context(), vdi, lab.sr, noVdi, noVdi);
      },
    ],
    [
      'VDI.resize',
      async () => {
        const vdi = await diskWithData();
        return () => lab.handlers.VDI.resize(f.context(), vdi, 4 * mib);
      },
    ],
    [
      'VM.clone',
      async () => {
        const vm = await vmWithDisks(2);
        return () => lab.handlers.VM.clone(f.context(), vm, 'clone');
      },
    ],
    [
      'VM.copy',
      async () => {
        const vm = await vmWithDisks(2);
        return () => lab.handlers.VM.copy(f.context(), vm, 'copy', nullRef as Ref<'SR'>);
      },
    ],
    [
      'VM.provision',
      async () => {
        const vm = await f.createVm({ is_a_template: true, other_config: { disks: order } });
        return () => lab.handlers.VM.provision(f.context(), vm);
      },
    ],
  ];
  for (const [name, prepare] of operations) {
    for (const write of [1, 2]) {
      it(`are as they were after ${name} whose write ${write} has no room, also after a restart`, async () => {
        const call = await prepare();
        const before = everything();
        const allow = refuseWrites(write);
        try {
          expect(await f.failure(call)).to.deep.equal(['OUT_OF_SPACE', '/db']);
          expect(everything()).to.deep.equal(before);
        } finally {
          await allow();
        }
        enter(await f.restart());
        expect(everything()).to.deep.equal(before);
        expect(journal()).to.deep.equal([]);
      });
    }
  }

  it('are destroyed on a full disk, where nothing can be written before that has made space', async () => {
    const vdi = await diskWithData();
    const file = lab.fileOf(vdi);
    const store = f.store as { putMany: Store['putMany'] };
    const { putMany } = store;
    store.putMany = async (changes) => {
      if (fs.existsSync(file)) throw new XapiError('OUT_OF_SPACE', ['/db']);
      return putMany(changes);
    };
    try {
      await lab.handlers.VDI.destroy(f.context(), vdi);
      expect(lab.srRow().VDIs).to.deep.equal([]);
    } finally {
      store.putMany = putMany;
    }
  });

  it('are as they were after a VM.clone whose second disk cannot be copied', async () => {
    const vm = await vmWithDisks(2);
    const [, second] = f.pool.db.get('VM', vm).VBDs.map((vbd) => f.pool.db.get('VBD', vbd).VDI);
    fs.rmSync(lab.fileOf(second!));
    const before = everything();
    const failed = await f.failure(() => lab.handlers.VM.clone(f.context(), vm, 'clone'));
    expect(failed.slice(0, 2)).to.deep.equal(['SR_BACKEND_FAILURE', 'ENOENT']);
    expect(everything()).to.deep.equal(before);
  });

  it('show a copy while it goes, two of one disk at once, and leave nothing of one that is cancelled', async () => {
    const vdi = await diskWithData();
    const before = everything();
    held = holdCopies();
    const tasks = [f.task(), f.task()] as const;
    const copies = tasks.map((task) =>
      f.failure(() => lab.handlers.VDI.copy(f.context(task), vdi, lab.sr, noVdi, noVdi)),
    );
    const rows = () => tasks.map(({ ref }) => f.pool.db.get('task', ref));
    await held.held(2);
    await f.until(() => rows().every(({ progress }) => progress >= 0.3 && progress < 1));
    expect(rows().map((row) => row.allowed_operations)).to.deep.equal([['cancel'], ['cancel']]);
    expect(Object.values(lab.vdiRow(vdi).current_operations)).to.deep.equal(['copy', 'copy']);
    expect(lab.vdiRow(vdi).allowed_operations).to.deep.equal(['copy']);
    expect(new Set(Object.values(lab.srRow().current_operations))).to.deep.equal(new Set(['vdi_copy', 'vdi_create']));
    await lab.handlers.SR.scan(f.context(), lab.sr);
    expect(f.pool.db.count('VDI')).to.equal(1);
    for (const { ref } of tasks) await lab.handlers.task.cancel(f.context(), ref);
    for (const [index, { ref }] of tasks.entries()) expect(await copies[index]).to.deep.equal(['TASK_CANCELLED', ref]);
    expect(everything()).to.deep.equal(before);
    await f.pool.db.saved();
    expect(journal()).to.deep.equal([]);
  });

  it('are as they were after a VM.copy that is cancelled at its second disk', async () => {
    const vm = await vmWithDisks(2);
    const before = everything();
    held = holdCopies();
    const task = f.task();
    const copying = f.failure(() => lab.handlers.VM.copy(f.context(task), vm, 'copy', lab.sr));
    await held.held();
    held.release();
    await f.until(() => f.pool.db.get('task', task.ref).progress >= 0.5);
    await held.held();
    await lab.handlers.task.cancel(f.context(), task.ref);
    expect(await copying).to.deep.equal(['TASK_CANCELLED', task.ref]);
    expect(everything()).to.deep.equal(before);
  });

  it('leave nothing of a copy on a member that goes away, once it is back', async () => {
    const hostB = await f.joinB();
    const far = f.pool.db.get('PBD', f.pool.db.get('host', hostB).PBDs[0]!).SR;
    const vdi = await lab.createVdi({ SR: far });
    const dir = lab.dirOf(far, f.b);
    const before = fs.readdirSync(dir);
    const live = () => f.pool.db.get('host_metrics', f.pool.db.get('host', hostB).metrics).live;
    await f.until(live);
    held = holdCopies();
    const content = Buffer.alloc(mib, 'data');
    fs.writeFileSync(path.join(dir, `${lab.vdiRow(vdi).location}.raw`), content);
    const copying = f.failure(() => lab.handlers.VDI.copy(f.context(), vdi, far, noVdi, noVdi));
    await held.held();
    f.b.reachable = false;
    f.b.emit({ kind: 'domain-gone', uuid: uuidOf(99) });
    expect(await copying).to.deep.equal(['HOST_OFFLINE', hostB]);
    expect(fs.readdirSync(dir)).to.have.length(2);
    expect(lab.vdiRow(vdi).current_operations).to.deep.equal({});
    f.b.reachable = true;
    await f.until(live);
    await lab.handlers.SR.scan(f.context(), far);
    expect(fs.readdirSync(dir)).to.deep.equal(before);
    expect(lab.srRow(far).VDIs).to.deep.equal([vdi]);
  });

  describe('by the end of the coordinator', () => {
    const volume = uuidOf(77);
    const made = async (): Promise<void> => {
      const { uuid } = lab.srRow();
      await f.a.service.storage.createVolume(uuid, volume, mib);
      await f.store.table<OpenVolume>('volumes').put(volume, { sr: uuid, what: 'made' });
    };
    const settled = async (): Promise<void> => {
      enter(await f.restart());
      await lab.handlers.SR.scan(f.context(), lab.sr);
      await f.pool.db.saved();
      expect(journal()).to.deep.equal([]);
    };

    it('go where they have no record yet', async () => {
      await made();
      const before = f.pool.db.count('VDI');
      await settled();
      expect(fs.readdirSync(lab.dirOf())).to.deep.equal([]);
      expect(f.pool.db.count('VDI')).to.equal(before);
    });

    it('go where they are still being copied', async () => {
      const vdi = await diskWithData();
      const { uuid } = lab.srRow();
      held = holdCopies();
      const copying = f.failure(() => f.a.service.storage.copyVolume(uuid, lab.vdiRow(vdi).location, uuid, volume));
      await held.held();
      await f.store.table<OpenVolume>('volumes').put(volume, { sr: uuid, what: 'made' });
      await settled();
      expect((await copying)[1]).to.equal('ECANCELED');
      expect(fs.readdirSync(lab.dirOf())).to.deep.equal([path.basename(lab.fileOf(vdi))]);
    });

    it('stay where somebody has written to them, as the database is older than they are', async () => {
      await made();
      fs.writeFileSync(path.join(lab.dirOf(), `${volume}.raw`), 'precious');
      await settled();
      expect(fs.readFileSync(path.join(lab.dirOf(), `${volume}.raw`), 'utf8')).to.equal('precious');
    });

    it('stay where they have a record', async () => {
      const vdi = await lab.createVdi();
      const { location } = lab.vdiRow(vdi);
      await f.store.table<OpenVolume>('volumes').put(location, { sr: lab.srRow().uuid, what: 'made' });
      await settled();
      expect(lab.srRow().VDIs).to.deep.equal([vdi]);
      expect(fs.existsSync(lab.fileOf(vdi))).to.equal(true);
    });

    it('have in their records the size that they got', async () => {
      const vdi = await diskWithData();
      const { location } = lab.vdiRow(vdi);
      const { uuid } = lab.srRow();
      await f.a.service.storage.resizeVolume(uuid, location, 4 * mib);
      await f.store.table<OpenVolume>('volumes').put(location, { sr: uuid, what: 'resized' });
      await settled();
      expect(lab.vdiRow(vdi).virtual_size).to.equal(4 * mib);
    });

    it('have no record where they were destroyed', async () => {
      const [gone, kept] = [await lab.createVdi(), await lab.createVdi()];
      for (const vdi of [gone, kept]) {
        const entry = { sr: lab.srRow().uuid, what: 'destroyed' } as const;
        await f.store.table<OpenVolume>('volumes').put(lab.vdiRow(vdi).location, entry);
      }
      fs.rmSync(lab.fileOf(gone));
      await settled();
      expect(lab.srRow().VDIs).to.deep.equal([kept]);
    });

    it('are forgotten with an SR that is forgotten', async () => {
      await f.store.table<OpenVolume>('volumes').put(volume, { sr: uuidOf(78), what: 'made' });
      await settled();
    });
  });
});
