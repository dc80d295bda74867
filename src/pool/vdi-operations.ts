/** What can be done with virtual disks. The volume changes first, at its host; the record follows. */
import { randomUUID } from 'node:crypto';
import type { RecordOf, Ref } from '../../idl/index.js';
import { invalidValue, XapiError } from '../base/errors.js';
import { largestVolume, type Volume } from '../host/storage.js';
import type { RecordView } from './database.js';
import { accessTo, removeVdi, type StorageDeps, tryRefreshUsage } from './storage.js';
import { withSr, withVdi } from './storage-operations.js';

type VdiRef = Ref<'VDI'>;
type VDI = RecordOf<'VDI'>;

const sectorBytes = 512;

/** Disks are whole sectors. @throws INVALID_VALUE [field, value] */
function wholeSectors(field: string, bytes: number): number {
  if (bytes >= 1 && bytes <= largestVolume) return Math.ceil(bytes / sectorBytes) * sectorBytes;
  throw invalidValue(field, bytes, `1 to ${largestVolume} bytes`);
}

function fromVolume(volume: Volume): Partial<VDI> {
  const { virtualSize: virtual_size, physicalUtilisation: physical_utilisation } = volume;
  return { virtual_size, physical_utilisation };
}

/**
 * Make a virtual disk that reads as zeros.
 * @throws VDI_INCOMPATIBLE_TYPE, INVALID_VALUE, what `withSr` and the host throw
 */
export async function createVdi(deps: StorageDeps, task: string, args: Readonly<VDI>): Promise<VdiRef> {
  const { db, volumes } = deps;
  if (args.type === 'cbt_metadata') throw new XapiError('VDI_INCOMPATIBLE_TYPE', ['', args.type]);
  const size = wholeSectors('virtual_size', args.virtual_size);
  const { name_label, name_description, SR, type, sharable, read_only, other_config, xenstore_data } = args;
  const given = { name_label, name_description, SR, type, sharable, read_only, other_config, xenstore_data };
  const { sm_config, tags } = args;
  return withSr(db, SR, 'vdi_create', task, async () => {
    const { uuid: sr, storage } = accessTo(deps, SR);
    const uuid = randomUUID();
    const vdi = await volumes.change(uuid, async () => {
      const volume = await storage.createVolume(sr, uuid, size);
      return db.create('VDI', {
        uuid,
        location: uuid,
        managed: true,
        ...given,
        sm_config,
        tags,
        ...fromVolume(volume),
      });
    });
    await tryRefreshUsage(deps, SR);
    await db.saved();
    return vdi;
  });
}

/** Remove a virtual disk with its content. @throws what `withVdi` and the host throw */
export function destroyVdi(deps: StorageDeps, task: string, vdi: VdiRef): Promise<void> {
  const { db, volumes } = deps;
  return withVdi(db, vdi, 'destroy', task, async () => {
    const { SR, location } = db.get('VDI', vdi);
    const { uuid: sr, storage } = accessTo(deps, SR);
    await volumes.change(location, async () => {
      await storage.destroyVolume(sr, location);
      removeVdi(db, vdi);
    });
    await tryRefreshUsage(deps, SR);
    await db.saved();
  });
}

/** Make a virtual disk larger. @throws VDI_TOO_SMALL, INVALID_VALUE, what `withVdi` and the host throw */
export function resizeVdi(deps: StorageDeps, task: string, vdi: VdiRef, bytes: number): Promise<void> {
  const { db } = deps;
  return withVdi(db, vdi, 'resize', task, async () => {
    const size = wholeSectors('size', bytes);
    const { SR, location, virtual_size } = db.get('VDI', vdi);
    if (size < virtual_size) throw new XapiError('VDI_TOO_SMALL', [vdi, String(virtual_size)]);
    const { uuid: sr, storage } = accessTo(deps, SR);
    db.update('VDI', vdi, fromVolume(await storage.resizeVolume(sr, location, size)));
    await tryRefreshUsage(deps, SR);
    await db.saved();
  });
}

/** An independent disk with the content of another, in the same SR. @throws what `withVdi` and the host throw */
export function cloneVdi(deps: StorageDeps, task: string, vdi: VdiRef): Promise<VdiRef> {
  return withVdi(deps.db, vdi, 'clone', task, () => duplicate(deps, vdi, deps.db.get('VDI', vdi).SR, {}));
}

/** The content of a disk as it is now, in the same SR. @throws what `withVdi` and the host throw */
export function snapshotVdi(deps: StorageDeps, task: string, vdi: VdiRef): Promise<VdiRef> {
  const { db, now } = deps;
  const made = { is_a_snapshot: true, snapshot_of: vdi, snapshot_time: now() };
  return withVdi(db, vdi, 'snapshot', task, () => duplicate(deps, vdi, db.get('VDI', vdi).SR, made));
}

/**
 * Copy a disk into an SR that the same host has.
 * @throws NOT_IMPLEMENTED where no one host has both SRs, what `withVdi`, `withSr` and the host throw
 */
export function copyVdi(deps: StorageDeps, task: string, vdi: VdiRef, to: Ref<'SR'>): Promise<VdiRef> {
  return withVdi(deps.db, vdi, 'copy', task, () =>
    withSr(deps.db, to, 'vdi_create', task, () => duplicate(deps, vdi, to, {})),
  );
}

/** What a copy has of the original; what is its own follows from how it is made. */
function inherited(vdi: RecordView<'VDI'>): Partial<VDI> {
  const { name_label, name_description, type, sharable, other_config, xenstore_data, tags } = vdi;
  return { name_label, name_description, type, sharable, other_config, xenstore_data, tags };
}

async function duplicate(deps: StorageDeps, vdi: VdiRef, to: Ref<'SR'>, made: Partial<VDI>): Promise<VdiRef> {
  const { db, volumes } = deps;
  const original = db.get('VDI', vdi);
  const from = accessTo(deps, original.SR);
  const target = accessTo(deps, to);
  if (from.host !== target.host) throw new XapiError('NOT_IMPLEMENTED', ['VDI.copy'], 'not to an SR of another host');
  const uuid = randomUUID();
  const copy = await volumes.change(uuid, async () => {
    const volume = await from.storage.copyVolume(from.uuid, original.location, target.uuid, uuid);
    const own = { uuid, SR: to, location: uuid, managed: true, ...made };
    return db.create('VDI', { ...inherited(original), ...own, ...fromVolume(volume) });
  });
  await tryRefreshUsage(deps, to);
  await db.saved();
  return copy;
}

/** What VDI.introduce is given, apart from what its host says. */
export type IntroducedVdi = Pick<
  VDI,
  | 'uuid'
  | 'name_label'
  | 'name_description'
  | 'SR'
  | 'type'
  | 'sharable'
  | 'read_only'
  | 'other_config'
  | 'location'
  | 'xenstore_data'
  | 'sm_config'
>;

/**
 * Make a record for a volume that is there, whose uuid and location are one.
 * @throws UUID_INVALID, LOCATION_NOT_UNIQUE, VDI_LOCATION_MISSING [sr, location], what `withSr` and the host throw
 */
export function introduceVdi(deps: StorageDeps, task: string, given: IntroducedVdi): Promise<VdiRef> {
  const { db, volumes } = deps;
  return withSr(db, given.SR, 'vdi_introduce', task, async () => {
    const location = given.location === '' ? given.uuid : given.location;
    if (location !== given.uuid) {
      throw invalidValue('location', location, `the VDI's uuid, ${given.uuid}`);
    }
    if (db.findByUuid('VDI', given.uuid) !== undefined)
      throw new XapiError('LOCATION_NOT_UNIQUE', [given.SR, location]);
    const { uuid: sr, storage } = accessTo(deps, given.SR);
    const vdi = await volumes.change(location, async () => {
      const volume = await storage.statVolume(sr, location);
      if (volume === undefined) throw new XapiError('VDI_LOCATION_MISSING', [given.SR, location]);
      return db.create('VDI', { ...given, location, managed: true, ...fromVolume(volume) });
    });
    await tryRefreshUsage(deps, given.SR);
    await db.saved();
    return vdi;
  });
}

/** Remove a disk's record alone. @throws what `withVdi` throws */
export function forgetVdi(deps: StorageDeps, task: string, vdi: VdiRef): Promise<void> {
  const { db } = deps;
  return withVdi(db, vdi, 'forget', task, async () => {
    removeVdi(db, vdi);
    await db.saved();
  });
}

/** Bring a disk's figures to what its host says. @throws VDI_MISSING [sr, vdi], what `withVdi` and the host throw */
export function updateVdi(deps: StorageDeps, task: string, vdi: VdiRef): Promise<void> {
  const { db } = deps;
  return withVdi(db, vdi, 'update', task, async () => {
    const { SR, location } = db.get('VDI', vdi);
    const { uuid: sr, storage } = accessTo(deps, SR);
    const volume = await storage.statVolume(sr, location);
    db.update('VDI', vdi, { missing: volume === undefined, ...(volume === undefined ? {} : fromVolume(volume)) });
    await db.saved();
    if (volume === undefined) throw new XapiError('VDI_MISSING', [SR, vdi]);
  });
}
