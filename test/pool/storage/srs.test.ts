import { mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { nullRef } from '../../../src/model/value.js';
import { type Fixture, openFixture, uuidOf } from '../fixture.js';
import { mib, type NewTestSr, storageLab } from './storage-lab.js';

describe('SR', () => {
  let f: Fixture;
  let lab: ReturnType<typeof storageLab>;
  let sr: Ref<'SR'>;
  beforeEach(async () => {
    f = await openFixture();
    lab = storageLab(f);
    sr = lab.sr;
  });
  afterEach(() => f.close());
  describe('of a host', () => {
    it('is there from the start, true to the disk, and the default of the pool', () => {
      expect(statSync(lab.dirOf()).isDirectory()).to.equal(true);
      expect(lab.srRow()).to.include({ type: 'file', content_type: 'user', shared: false, virtual_allocation: 0 });
      expect(lab.srRow().physical_size).to.be.greaterThan(0);
      expect(lab.srRow().physical_utilisation).to.be.within(0, lab.srRow().physical_size);
      expect(lab.srRow().allowed_operations)
        .to.include.members(['scan', 'vdi_create', 'unplug'])
        .and.not.include('destroy');
      // The Go client of terra-farm knows none of these, and could not read the record.
      expect(lab.srRow().allowed_operations).to.not.include.oneOf(['vdi_copy', 'vdi_forget', 'vdi_update']);
      const [[, sm]] = f.pool.db.all('SM') as [[Ref<'SM'>, RecordOf<'SM'>]];
      expect(sm).to.include({ type: 'file', version: '0.0.0' });
      expect(sm.features).to.include({ VDI_CREATE: 1 });
    });

    it('is on each host, in the directory of that host', async () => {
      const hostB = await f.joinB();
      const [pbd] = f.pool.db.get('host', hostB).PBDs.map((ref) => f.pool.db.get('PBD', ref));
      expect(statSync(lab.dirOf(pbd!.SR, f.b)).isDirectory()).to.equal(true);
      expect(f.pool.db.all('pool')[0]![1].default_SR).to.equal(sr);
    });

    it('is attached no more when a restart does not find it, and can be plugged when it is back', async () => {
      renameSync(lab.dirOf(), `${lab.dirOf()}.away`);
      f = await f.restart();
      lab = storageLab(f);
      const [pbd] = lab.srRow().PBDs;
      expect(f.pool.db.get('PBD', pbd!).currently_attached).to.equal(false);
      expect(await f.failure(() => lab.createVdi())).to.deep.equal(['SR_HAS_NO_PBDS', sr]);
      const plug = () => lab.handlers.PBD.plug(f.context(), pbd!);
      expect((await f.failure(plug)).slice(0, 2)).to.deep.equal(['SR_BACKEND_FAILURE', 'ENOENT']);
      renameSync(`${lab.dirOf()}.away`, lab.dirOf());
      await plug();
      await lab.createVdi();
    });
  });

  it('is made on a host, and removed when it is empty and detached', async () => {
    const made = await lab.createSr();
    const dir = lab.dirOf(made);
    expect(statSync(dir).isDirectory()).to.equal(true);
    const [pbd] = lab.srRow(made).PBDs as [Ref<'PBD'>];
    expect(f.pool.db.get('PBD', pbd)).to.include({ host: f.hostA, currently_attached: true });
    const vdi = await lab.createVdi({ SR: made });
    const destroy = () => f.failure(() => lab.handlers.SR.destroy(f.context(), made));
    expect(await destroy()).to.deep.equal(['SR_HAS_PBD', made]);
    await lab.handlers.PBD.unplug(f.context(), pbd);
    expect(await destroy()).to.deep.equal(['SR_NOT_EMPTY']);
    await lab.handlers.PBD.plug(f.context(), pbd);
    await lab.handlers.VDI.destroy(f.context(), vdi);
    await lab.handlers.PBD.unplug(f.context(), pbd);
    expect(lab.srRow(made).allowed_operations).to.include.members(['destroy', 'forget']);
    expect(await destroy()).to.deep.equal([]);
    expect(() => statSync(dir)).to.throw('ENOENT');
    expect(f.pool.db.find('PBD', pbd)).to.equal(undefined);
  });

  const wrong: [string, NewTestSr, string[]][] = [
    ['an unknown type', { type: 'nfs' }, ['SR_UNKNOWN_DRIVER', 'nfs']],
    ['sharing', { shared: true }, ['INVALID_VALUE', 'shared', 'true']],
    ['a size below 0', { size: -1 }, ['INVALID_VALUE', 'physical_size', '-1']],
    ['a path', { config: { location: '/etc' } }, ['INVALID_VALUE', 'device_config:location', '/etc']],
  ];
  for (const [name, given, expected] of wrong) {
    it(`is refused with ${name}`, async () => {
      expect(await f.failure(() => lab.createSr(f.hostA, given))).to.deep.equal(expected);
      expect(f.pool.db.count('SR')).to.equal(1);
    });
  }

  it('is forgotten, found by a probe, introduced, plugged and scanned', async () => {
    const vdi = await lab.createVdi();
    const { uuid } = lab.srRow(sr);
    const volume = lab.vdiRow(vdi).uuid;
    const [pbd] = lab.srRow(sr).PBDs as [Ref<'PBD'>];
    expect(await f.failure(() => lab.handlers.SR.forget(f.context(), sr))).to.deep.equal(['SR_HAS_PBD', sr]);
    await lab.handlers.PBD.unplug(f.context(), pbd);
    await lab.handlers.SR.forget(f.context(), sr);
    expect([f.pool.db.count('SR'), f.pool.db.count('VDI'), f.pool.db.count('PBD')]).to.deep.equal([0, 0, 0]);
    expect(f.pool.db.all('pool')[0]![1].default_SR).to.equal(nullRef);
    expect(await lab.handlers.SR.probe(f.context(), f.hostA, {}, 'file', {})).to.contain(`<UUID>${uuid}</UUID>`);
    const introduce = (id: string) => lab.handlers.SR.introduce(f.context(), id, 'back', '', 'file', 'user', false, {});
    sr = await introduce(uuid);
    expect(await f.failure(() => introduce(uuid))).to.deep.equal(['SR_UUID_EXISTS', uuid]);
    expect(await f.failure(() => introduce('..'))).to.deep.equal(['UUID_INVALID', 'SR', '..']);
    const create = () => lab.createPbd(f.hostA, sr);
    const again = await create();
    expect(await f.failure(create)).to.deep.equal(['PBD_EXISTS', sr, f.hostA, again]);
    expect(await f.failure(() => lab.handlers.SR.scan(f.context(), sr))).to.deep.equal(['SR_HAS_NO_PBDS', sr]);
    await lab.handlers.PBD.plug(f.context(), again);
    await lab.handlers.SR.scan(f.context(), sr);
    expect(lab.srRow(sr).VDIs.map((ref) => lab.vdiRow(ref).uuid)).to.deep.equal([volume]);
    expect(lab.srRow(sr).virtual_allocation).to.equal(8 * mib);
  });

  it('is brought to the disk by a scan', async () => {
    const [gone, stays, used] = [await lab.createVdi(), await lab.createVdi(), await lab.createVdi()];
    lab.attach(used);
    rmSync(lab.fileOf(used));
    rmSync(lab.fileOf(gone));
    writeFileSync(join(lab.dirOf(sr), `${uuidOf(7)}.raw`), 'x'.repeat(512));
    writeFileSync(join(lab.dirOf(sr), 'notes'), 'mine');
    await lab.handlers.SR.scan(f.context(), sr);
    expect(f.pool.db.find('VDI', gone)).to.equal(undefined);
    expect(lab.vdiRow(stays)).to.include({ name_label: 'disk', missing: false });
    expect(lab.vdiRow(used)).to.include({ name_label: 'disk', missing: true });
    expect(lab.vdiRow(f.pool.db.byUuid('VDI', uuidOf(7)))).to.include({ virtual_size: 512, SR: sr, managed: true });
    expect(lab.srRow(sr).VDIs).to.have.length(3);
  });

  it('keeps one record for each volume when disks come and go during scans', async () => {
    const keep = await lab.createVdi();
    const drop = await lab.createVdi();
    const scans = [1, 2, 3].map(() => lab.handlers.SR.scan(f.context(), sr));
    const [made] = await Promise.all([lab.createVdi(), lab.handlers.VDI.destroy(f.context(), drop), ...scans]);
    await lab.handlers.SR.scan(f.context(), sr);
    expect(lab.srRow(sr).VDIs).to.have.members([keep, made]);
    expect(readdirSync(lab.dirOf(sr))).to.have.length(2);
  });

  it('is neither shared nor removed where it is said to be indestructible', async () => {
    const { set_shared, get_supported_types, destroy } = lab.handlers.SR;
    expect(await get_supported_types(f.context())).to.deep.equal(['file']);
    expect(await f.failure(() => set_shared(f.context(), sr, true))).to.deep.equal(['SR_NOT_SHARABLE', sr, f.hostA]);
    await set_shared(f.context(), sr, false);
    f.pool.db.putInMap('SR', sr, 'other_config', 'indestructible', 'true');
    await lab.handlers.PBD.unplug(f.context(), lab.srRow(sr).PBDs[0]!);
    expect(await f.failure(() => destroy(f.context(), sr))).to.deep.equal(['SR_INDESTRUCTIBLE', sr]);
  });

  it('is not unplugged while a VM has a disk on it, nor attached to two hosts', async () => {
    const vdi = await lab.createVdi();
    const vbd = lab.attach(vdi);
    const [pbd] = lab.srRow(sr).PBDs as [Ref<'PBD'>];
    expect(await f.failure(() => lab.handlers.PBD.unplug(f.context(), pbd))).to.deep.equal(['VDI_IN_USE', vdi]);
    expect(await f.failure(() => lab.handlers.PBD.destroy(f.context(), pbd))).to.have.property(
      '0',
      'OPERATION_NOT_ALLOWED',
    );
    const hostB = await f.joinB();
    mkdirSync(join(f.b.dir, 'sr', lab.srRow(sr).uuid));
    const second = await lab.createPbd(hostB, sr);
    const plug = () => lab.handlers.PBD.plug(f.context(), second);
    expect(await f.failure(plug)).to.deep.equal(['SR_NOT_SHARABLE', sr, f.hostA]);
    f.pool.db.update('VBD', vbd, { currently_attached: false });
    await lab.handlers.PBD.unplug(f.context(), pbd);
    await plug();
    await lab.handlers.PBD.destroy(f.context(), pbd);
    expect(lab.srRow(sr).PBDs).to.deep.equal([second]);
  });

  it('of a host that does not answer is refused', async () => {
    f.pool.db.update('host_metrics', f.pool.db.get('host', f.hostA).metrics, { live: false });
    expect(await f.failure(() => lab.createVdi())).to.deep.equal(['HOST_OFFLINE', f.hostA]);
    expect(await f.failure(() => lab.createSr())).to.deep.equal(['HOST_OFFLINE', f.hostA]);
    expect(lab.srRow(sr).current_operations).to.deep.equal({});
  });
});
