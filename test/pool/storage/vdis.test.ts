import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { nullRef } from '../../../src/model/value.js';
import { type Fixture, openFixture, uuidOf } from '../fixture.js';
import { mib, noVdi, storageLab } from './storage-lab.js';

describe('VDI', () => {
  let f: Fixture;
  let lab: ReturnType<typeof storageLab>;
  let sr: Ref<'SR'>;
  beforeEach(async () => {
    f = await openFixture();
    lab = storageLab(f);
    sr = lab.sr;
  });
  afterEach(() => f.close());
  it('is made as a sparse file, and removed with it', async () => {
    const vdi = await lab.createVdi({
      virtual_size: 8 * mib - 1,
      tags: ['t'],
      other_config: { k: 'v' },
      sharable: true,
    });
    const expected = { name_label: 'disk', SR: sr, virtual_size: 8 * mib, physical_utilisation: 0, managed: true };
    expect(lab.vdiRow(vdi)).to.deep.include({ ...expected, tags: ['t'], other_config: { k: 'v' }, sharable: true });
    expect(lab.vdiRow(vdi).location).to.equal(lab.vdiRow(vdi).uuid);
    expect(lab.vdiRow(vdi).allowed_operations).to.have.members([
      'clone',
      'copy',
      'resize',
      'snapshot',
      'destroy',
      'forget',
      'update',
    ]);
    expect(statSync(lab.fileOf(vdi)).size).to.equal(8 * mib);
    expect(lab.srRow()).to.deep.include({ VDIs: [vdi], virtual_allocation: 8 * mib, current_operations: {} });
    const file = lab.fileOf(vdi);
    await lab.handlers.VDI.destroy(f.context(), vdi);
    expect(() => statSync(file)).to.throw('ENOENT');
    expect(lab.srRow()).to.deep.include({ VDIs: [], virtual_allocation: 0 });
  });

  const wrong: [string, Partial<RecordOf<'VDI'>>, (string | RegExp)[]][] = [
    ['a size of 0', { virtual_size: 0 }, ['INVALID_VALUE', 'virtual_size', /^0$/]],
    ['a size below 0', { virtual_size: -5 }, ['INVALID_VALUE', 'virtual_size', /^-5$/]],
    ['a size that no disk has', { virtual_size: 2 ** 50 }, ['INVALID_VALUE', 'virtual_size', /^1125899906842624$/]],
    ['a type of its own', { type: 'cbt_metadata' }, ['VDI_INCOMPATIBLE_TYPE', '', 'cbt_metadata']],
    ['an SR that is none', { SR: 'OpaqueRef:x' as Ref<'SR'> }, ['HANDLE_INVALID', 'SR', 'OpaqueRef:x']],
  ];
  for (const [name, given, expected] of wrong) {
    it(`is refused with ${name}`, async () => {
      const failure = await f.failure(() => lab.createVdi(given));
      for (const [index, part] of expected.entries()) {
        if (part instanceof RegExp) expect(failure[index]).to.match(part);
        else expect(failure[index]).to.equal(part);
      }
      expect(readdirSync(lab.dirOf())).to.deep.equal([]);
    });
  }

  it('grows, and does not shrink', async () => {
    const vdi = await lab.createVdi();
    await lab.handlers.VDI.resize(f.context(), vdi, 16 * mib);
    expect(lab.vdiRow(vdi).virtual_size).to.equal(16 * mib);
    expect(statSync(lab.fileOf(vdi)).size).to.equal(16 * mib);
    expect(lab.srRow().virtual_allocation).to.equal(16 * mib);
    const shrink = () => lab.handlers.VDI.resize(f.context(), vdi, 8 * mib);
    expect(await f.failure(shrink)).to.deep.equal(['VDI_TOO_SMALL', vdi, String(16 * mib)]);
  });

  it('is cloned, copied and snapshot with its content and its names', async () => {
    const vdi = await lab.createVdi({ name_description: 'd', type: 'system', tags: ['t'] });
    const content = readFileSync(lab.fileOf(vdi));
    content.write('here', 5 * mib);
    writeFileSync(lab.fileOf(vdi), content);
    const other = await lab.createSr();
    const { clone, copy, snapshot } = lab.handlers.VDI;
    const made = {
      clone: await clone(f.context(), vdi, {}),
      copy: await copy(f.context(), vdi, other, noVdi, noVdi),
      'copy in place': await copy(f.context(), vdi, nullRef as Ref<'SR'>, noVdi, noVdi),
      snapshot: await snapshot(f.context(), vdi, {}),
    };
    for (const [how, ref] of Object.entries(made)) {
      expect(readFileSync(lab.fileOf(ref)).equals(content), how).to.equal(true);
      expect(lab.vdiRow(ref), how).to.deep.include({
        name_label: 'disk',
        name_description: 'd',
        type: 'system',
        tags: ['t'],
      });
      expect(lab.vdiRow(ref).SR, how).to.equal(how === 'copy' ? other : sr);
      expect(lab.vdiRow(ref).is_a_snapshot, how).to.equal(how === 'snapshot');
    }
    expect(lab.vdiRow(made.snapshot).snapshot_of).to.equal(vdi);
    expect(lab.vdiRow(vdi).snapshots).to.deep.equal([made.snapshot]);
    expect(lab.vdiRow(made.snapshot).snapshot_time.getTime()).to.be.greaterThan(0);
    expect(lab.vdiRow(vdi).current_operations).to.deep.equal({});
  });

  it('is not copied to another host, nor on top of another', async () => {
    const vdi = await lab.createVdi();
    const far = await lab.createSr(await f.joinB());
    const { copy } = lab.handlers.VDI;
    expect(await f.failure(() => copy(f.context(), vdi, far, noVdi, noVdi))).to.have.property('0', 'NOT_IMPLEMENTED');
    expect(await f.failure(() => copy(f.context(), vdi, sr, noVdi, vdi))).to.have.property('0', 'NOT_IMPLEMENTED');
    expect(lab.srRow(far).current_operations).to.deep.equal({});
  });

  it('of a running VM is neither removed, forgotten, resized nor copied, and can be snapshot', async () => {
    const vdi = await lab.createVdi();
    const vbd = lab.attach(vdi);
    expect(lab.vdiRow(vdi).allowed_operations).to.have.members(['clone', 'snapshot', 'update']);
    const { destroy, forget, resize, copy, snapshot } = lab.handlers.VDI;
    const inUse = (operation: string) => ['VDI_IN_USE', vdi, operation];
    expect(await f.failure(() => destroy(f.context(), vdi))).to.deep.equal(inUse('destroy'));
    expect(await f.failure(() => forget(f.context(), vdi))).to.deep.equal(inUse('forget'));
    expect(await f.failure(() => resize(f.context(), vdi, 16 * mib))).to.deep.equal(inUse('resize'));
    expect(await f.failure(() => copy(f.context(), vdi, sr, noVdi, noVdi))).to.deep.equal(inUse('copy'));
    await snapshot(f.context(), vdi, {});
    f.pool.db.update('VBD', vbd, { mode: 'RO' });
    expect(lab.vdiRow(vdi).allowed_operations).to.include('copy').and.not.include('destroy');
    f.pool.db.update('VBD', vbd, { currently_attached: false });
    expect(lab.vdiRow(vdi).allowed_operations).to.include('destroy');
    await destroy(f.context(), vdi);
    expect(f.pool.db.find('VBD', vbd)).to.equal(undefined);
  });

  it('that a drive holds leaves the drive empty', async () => {
    const vdi = await lab.createVdi();
    const vbd = lab.attach(vdi);
    f.pool.db.update('VBD', vbd, { type: 'CD', currently_attached: false });
    await lab.handlers.VDI.destroy(f.context(), vdi);
    expect(f.pool.db.get('VBD', vbd)).to.include({ VDI: nullRef, empty: true });
  });

  it('is busy while an operation runs', async () => {
    const vdi = await lab.createVdi();
    const task = f.task();
    const growing = Promise.resolve(lab.handlers.VDI.resize(f.context(task), vdi, 16 * mib));
    expect(lab.vdiRow(vdi).current_operations).to.deep.equal({ [task.ref]: 'resize' });
    expect(lab.srRow().current_operations).to.deep.equal({ [task.ref]: 'vdi_resize' });
    expect(lab.vdiRow(vdi).allowed_operations).to.deep.equal([]);
    const busy = ['OTHER_OPERATION_IN_PROGRESS', 'VDI', vdi, 'resize', task.ref];
    expect(await f.failure(() => lab.handlers.VDI.destroy(f.context(), vdi))).to.deep.equal(busy);
    const [pbd] = lab.srRow().PBDs;
    const unplug = await f.failure(() => lab.handlers.PBD.unplug(f.context(), pbd!));
    expect(unplug).to.deep.equal(['OTHER_OPERATION_IN_PROGRESS', 'SR', sr, 'vdi_resize', task.ref]);
    await growing;
  });

  it('is forgotten and introduced again', async () => {
    const vdi = await lab.createVdi();
    const { uuid } = lab.vdiRow(vdi);
    await lab.handlers.VDI.forget(f.context(), vdi);
    const introduce = (id: string, location = id) =>
      lab.handlers.VDI.introduce(
        f.context(),
        ...([
          id,
          'again',
          '',
          sr,
          'user',
          false,
          false,
          {},
          location,
          {},
          {},
          true,
          0,
          0,
          nullRef as Ref<'pool'>,
          false,
          new Date(0),
          noVdi,
        ] as const),
      );
    const again = await introduce(uuid);
    expect(lab.vdiRow(again)).to.include({ uuid, name_label: 'again', virtual_size: 8 * mib });
    expect(await f.failure(() => introduce(uuid))).to.deep.equal(['LOCATION_NOT_UNIQUE', sr, uuid]);
    expect(await f.failure(() => introduce(uuidOf(9)))).to.deep.equal(['VDI_LOCATION_MISSING', sr, uuidOf(9)]);
    expect(await f.failure(() => introduce('../../secret'))).to.deep.equal(['UUID_INVALID', 'VDI', '../../secret']);
    expect(await f.failure(() => introduce(uuidOf(9), '/etc/passwd'))).to.have.property('0', 'INVALID_VALUE');
  });

  it('is updated from the disk, and said to be missing when it is', async () => {
    const vdi = await lab.createVdi();
    writeFileSync(lab.fileOf(vdi), Buffer.alloc(mib, 'x'));
    await lab.handlers.VDI.update(f.context(), vdi);
    expect(lab.vdiRow(vdi)).to.include({ virtual_size: mib, missing: false });
    expect(lab.vdiRow(vdi).physical_utilisation).to.be.at.least(mib);
    rmSync(lab.fileOf(vdi));
    expect(await f.failure(() => lab.handlers.VDI.update(f.context(), vdi))).to.deep.equal(['VDI_MISSING', sr, vdi]);
    expect(lab.vdiRow(vdi).missing).to.equal(true);
  });
});
