/** What can be done with virtual disks. The volume changes first, at its host; the record follows. */
import type { RecordOf, Ref } from '../../../idl/index.js';
import { invalidValue, isOutOfSpace, XapiError } from '../../base/errors.js';
import { largestVolume, type Volume } from '../../host/storage/storage.js';
import type { CallTask } from '../../model/handlers.js';
import type { Database } from '../database/database.js';
import { accessTo, putUsage, readUsage, removeVdi, type StorageDeps, tryRefreshUsage, whileLive } from './sr-access.js';
import { withSr, withVdi } from './storage-allowed-operations.js';
import { makeVdis, type NewVdi } from './vdi-making.js';

type VdiRef = Ref<'VDI'>;
type VDI = RecordOf<'VDI'>;

const sectorBytes = 512;

/** Disks are whole sectors. @throws INVALID_VALUE [field, value] */
function wholeSectors(field: string, bytes: number): number {
  if (bytes >= 1 && bytes <= largestVolume) return Math.ceil(bytes / sectorBytes) * sectorBytes;
  throw invalidValue(field, bytes, `1 to ${largestVolume} bytes`);
}

function unlessFull(error: unknown): void {
  if (!isOutOfSpace(error)) throw error;
}

function fromVolume(volume: Volume): Partial<VDI> {
  const { virtualSize: virtual_size, physicalUtilisation: physical_utilisation } = volume;
  return { virtual_size, physical_utilisation };
}

/** What VDI.create is given, as a disk to be made. @throws VDI_INCOMPATIBLE_TYPE, INVALID_VALUE */
export function emptyVdi(args: Readonly<VDI>): NewVdi {
  if (args.type === 'cbt_metadata') throw new XapiError('VDI_INCOMPATIBLE_TYPE', ['', args.type]);
  const bytes = wholeSectors('virtual_size', args.virtual_size);
  const { name_label, name_description, SR, type, sharable, read_only, other_config, xenstore_data } = args;
  const { sm_config, tags } = args;
  const given = {
    name_label,
    name_description,
    type,
    sharable,
    read_only,
    other_config,
    xenstore_data,
    sm_config,
    tags,
  };
  return { SR, content: { bytes }, record: given };
}

/** Make a virtual disk that reads as zeros. @throws what `emptyVdi`, `withSr` and `makeVdis` throw */
export async function createVdi(deps: StorageDeps, task: CallTask, args: Readonly<VDI>): Promise<VdiRef> {
  const disk = emptyVdi(args);
  return withSr(deps.db, args.SR, 'vdi_create', task.ref, () => makeVdi(deps, task, disk));
}

function makeVdi(deps: StorageDeps, task: CallTask, disk: NewVdi): Promise<VdiRef> {
  return makeVdis(deps, task, [disk], ([vdi]) => vdi as VdiRef);
}

/** Remove a virtual disk with its content. @throws what `withVdi` and the host throw */
export function destroyVdi(deps: StorageDeps, task: string, vdi: VdiRef): Promise<void> {
  const { db, volumes } = deps;
  return withVdi(db, vdi, 'destroy', task, async () => {
    const { SR, location } = db.get('VDI', vdi);
    const { host, uuid: sr, storage } = accessTo(deps, SR);
    const entry = { sr, what: 'destroyed' } as const;
    // What makes space needs none first.
    await volumes.open([[location, entry]]).catch(unlessFull);
    try {
      await whileLive(db, host, storage.destroyVolume(sr, location));
      removeVdi(db, vdi);
      volumes.close(location);
    } catch (error) {
      volumes.abandon(location, entry);
      await volumes.reconcile(host);
      throw error;
    }
    await tryRefreshUsage(deps, SR);
    await db.saved();
  });
}

/** Make a virtual disk larger; it is as it was where that fails. @throws VDI_TOO_SMALL, INVALID_VALUE, what `withVdi` and the host throw */
export function resizeVdi(deps: StorageDeps, task: string, vdi: VdiRef, bytes: number): Promise<void> {
  const { db, volumes } = deps;
  return withVdi(db, vdi, 'resize', task, async () => {
    const size = wholeSectors('size', bytes);
    const { SR, location, virtual_size } = db.get('VDI', vdi);
    if (size < virtual_size) throw new XapiError('VDI_TOO_SMALL', [vdi, String(virtual_size)]);
    const { host, uuid: sr, storage } = accessTo(deps, SR);
    const entry = { sr, what: 'resized' } as const;
    await volumes.open([[location, entry]]);
    let undo: (() => Promise<void>) | undefined;
    try {
      const volume = await whileLive(db, host, storage.resizeVolume(sr, location, size));
      undo = () => storage.undoResize(sr, location, virtual_size);
      const usage = await readUsage(deps, SR).catch(() => undefined);
      db.update('VDI', vdi, fromVolume(volume));
      if (usage !== undefined) putUsage(db, SR, usage);
      volumes.close(location);
      await db.saved();
    } catch (error) {
      volumes.abandon(location, entry);
      await undo?.().catch(() => undefined);
      await volumes.reconcile(host);
      await tryRefreshUsage(deps, SR);
      throw error;
    }
  });
}

/** An independent disk with the content of another, in the same SR. @throws what `withVdi` and `makeVdis` throw */
export function cloneVdi(deps: StorageDeps, task: CallTask, vdi: VdiRef): Promise<VdiRef> {
  const { db } = deps;
  return withVdi(db, vdi, 'clone', task.ref, () => makeVdi(deps, task, copyOf(db, vdi, db.get('VDI', vdi).SR)));
}

/** The content of a disk as it is now, in the same SR. @throws what `withVdi` and `makeVdis` throw */
export function snapshotVdi(deps: StorageDeps, task: CallTask, vdi: VdiRef): Promise<VdiRef> {
  const { db, now } = deps;
  const made = { is_a_snapshot: true, snapshot_of: vdi, snapshot_time: now() };
  return withVdi(db, vdi, 'snapshot', task.ref, () =>
    makeVdi(deps, task, copyOf(db, vdi, db.get('VDI', vdi).SR, made)),
  );
}

/** Copy a disk into an SR that the same host has. @throws what `withVdi`, `withSr` and `makeVdis` throw */
export function copyVdi(deps: StorageDeps, task: CallTask, vdi: VdiRef, to: Ref<'SR'>): Promise<VdiRef> {
  const { db } = deps;
  return withVdi(db, vdi, 'copy', task.ref, () =>
    withSr(db, to, 'vdi_create', task.ref, () => makeVdi(deps, task, copyOf(db, vdi, to))),
  );
}

/** A disk to be made that has what another has; what is its own follows from how it is made. */
export function copyOf(db: Database, vdi: VdiRef, SR: Ref<'SR'>, made: Partial<VDI> = {}): NewVdi {
  const { name_label, name_description, type, sharable, other_config, xenstore_data, tags } = db.get('VDI', vdi);
  const inherited = { name_label, name_description, type, sharable, other_config, xenstore_data, tags };
  return { SR, content: { copyOf: vdi }, record: { ...inherited, ...made } };
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
    db.update('VDI', vdi, volume === undefined ? { missing: true } : { missing: false, ...fromVolume(volume) });
    await db.saved();
    if (volume === undefined) throw new XapiError('VDI_MISSING', [SR, vdi]);
  });
}
