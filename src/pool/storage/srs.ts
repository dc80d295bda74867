/** What can be done with SRs and their attachments to hosts. There is one type, `file`: a directory of its host's. */
import { randomUUID } from 'node:crypto';
import type { RecordOf, Ref } from '../../../idl/index.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import type { Volume } from '../../host/storage/storage.js';
import { nullRef } from '../../model/value.js';
import type { Database } from '../database/database.js';
import { accessTo, refreshUsage, removeVdi, type StorageDeps, storageOf, tryRefreshUsage } from './sr-access.js';
import { fileType, withSr } from './storage-allowed-operations.js';

type Strings = Readonly<Record<string, string>>;
type SrRef = Ref<'SR'>;

export interface NewSr {
  readonly host: Ref<'host'>;
  readonly deviceConfig: Strings;
  readonly physicalSize: number;
  readonly type: string;
  readonly shared: boolean;
  readonly given: Partial<RecordOf<'SR'>>;
}

/** Check that an SR could be of type file. @throws SR_UNKNOWN_DRIVER [type], INVALID_VALUE for what an SR of type file cannot have */
export function assertFileSr(type: string, deviceConfig: Strings, shared: boolean): void {
  if (type !== fileType) throw new XapiError('SR_UNKNOWN_DRIVER', [type], `known: ${fileType}`);
  if (shared) throw invalidValue('shared', true, `for type ${fileType}: false`);
  const [key] = Object.keys(deviceConfig);
  if (key === undefined) return;
  const allowed = 'nothing, as the directory of an SR is chosen by its host';
  throw invalidValue(`device_config:${key}`, deviceConfig[key], allowed);
}

/** Make an SR on a host and attach it there. @throws what `assertFileSr` says, HOST_OFFLINE, SR_BACKEND_FAILURE */
export async function createSr(deps: StorageDeps, sr: NewSr): Promise<SrRef> {
  const { db } = deps;
  assertFileSr(sr.type, sr.deviceConfig, sr.shared);
  if (sr.physicalSize < 0) {
    throw invalidValue('physical_size', sr.physicalSize, '0 or more; it is not reserved');
  }
  const uuid = randomUUID();
  await storageOf(deps, sr.host).createSr(uuid);
  const ref = db.create('SR', { ...sr.given, uuid, type: sr.type, shared: sr.shared });
  db.create('PBD', { host: sr.host, SR: ref, device_config: sr.deviceConfig, currently_attached: true });
  await tryRefreshUsage(deps, ref);
  await db.saved();
  return ref;
}

/** Make a record for an SR that is there. @throws UUID_INVALID, SR_UUID_EXISTS [uuid], what `assertFileSr` says */
export async function introduceSr(deps: StorageDeps, given: Partial<RecordOf<'SR'>>): Promise<SrRef> {
  const { uuid = '', type = '', shared = false } = given;
  assertFileSr(type, {}, shared);
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid)) throw new XapiError('UUID_INVALID', ['SR', uuid]);
  if (deps.db.findByUuid('SR', uuid) !== undefined) throw new XapiError('SR_UUID_EXISTS', [uuid]);
  const ref = deps.db.create('SR', given);
  await deps.db.saved();
  return ref;
}

/** Remove an empty, detached SR, on its host as well. @throws what `withSr` and the host throw */
export function destroySr(deps: StorageDeps, task: string, sr: SrRef): Promise<void> {
  const { db } = deps;
  return withSr(db, sr, 'destroy', task, async () => {
    const { PBDs, uuid } = db.get('SR', sr);
    for (const pbd of PBDs) await storageOf(deps, db.get('PBD', pbd).host).destroySr(uuid);
    removeSr(db, sr);
    await db.saved();
  });
}

/** Remove the records of a detached SR. @throws what `withSr` throws */
export function forgetSr(deps: StorageDeps, task: string, sr: SrRef): Promise<void> {
  return withSr(deps.db, sr, 'forget', task, async () => {
    removeSr(deps.db, sr);
    await deps.db.saved();
  });
}

function removeSr(db: Database, sr: SrRef): void {
  for (const vdi of db.get('SR', sr).VDIs) removeVdi(db, vdi);
  for (const pbd of db.get('SR', sr).PBDs) db.destroy('PBD', pbd);
  db.destroy('SR', sr);
  const none = nullRef as SrRef;
  const kept = (ref: SrRef): SrRef => (ref === sr ? none : ref);
  for (const [ref, { default_SR, suspend_image_SR, crash_dump_SR }] of db.all('pool')) {
    const patch = { default_SR: kept(default_SR), suspend_image_SR: kept(suspend_image_SR) };
    db.update('pool', ref, { ...patch, crash_dump_SR: kept(crash_dump_SR) });
  }
  for (const [ref, { suspend_image_sr, crash_dump_sr }] of db.all('host')) {
    db.update('host', ref, { suspend_image_sr: kept(suspend_image_sr), crash_dump_sr: kept(crash_dump_sr) });
  }
}

/** Read an SR's figures anew. @throws what `withSr` and the host throw */
export function updateSr(deps: StorageDeps, task: string, sr: SrRef): Promise<void> {
  return withSr(deps.db, sr, 'update', task, async () => {
    await refreshUsage(deps, sr);
    await deps.db.saved();
  });
}

/** Bring the VDIs of an SR to the volumes that are there. @throws what `withSr` and the host throw */
export function scanSr(deps: StorageDeps, task: string, sr: SrRef): Promise<void> {
  const { db, volumes } = deps;
  return withSr(db, sr, 'scan', task, async () => {
    const { host, uuid, storage } = accessTo(deps, sr);
    await volumes.reconcile(host);
    await volumes.scan(async (changing) => {
      const found = await storage.listVolumes(uuid);
      bringToVolumes(db, sr, found, changing);
    });
    await refreshUsage(deps, sr);
    await db.saved();
  });
}

function bringToVolumes(db: Database, sr: SrRef, found: readonly Volume[], changing: ReadonlySet<string>): void {
  const left = new Map(found.map((volume) => [volume.uuid, volume]));
  for (const ref of db.get('SR', sr).VDIs) {
    const { location } = db.get('VDI', ref);
    const volume = left.get(location);
    left.delete(location);
    if (changing.has(location)) continue;
    if (volume !== undefined) db.update('VDI', ref, figuresOf(volume));
    else if (isAttached(db, ref)) db.update('VDI', ref, { missing: true });
    else removeVdi(db, ref);
  }
  for (const volume of left.values()) {
    if (changing.has(volume.uuid) || db.findByUuid('VDI', volume.uuid) !== undefined) continue;
    const { uuid } = volume;
    db.create('VDI', { uuid, location: uuid, SR: sr, type: 'user', managed: true, ...figuresOf(volume) });
  }
}

/** The record of a disk that a VM has stays, as the VM's does. */
function isAttached(db: Database, vdi: Ref<'VDI'>): boolean {
  return db.get('VDI', vdi).VBDs.some((vbd) => db.get('VBD', vbd).currently_attached);
}

function figuresOf({ virtualSize, physicalUtilisation }: Volume): Partial<RecordOf<'VDI'>> {
  return { virtual_size: virtualSize, physical_utilisation: physicalUtilisation, missing: false };
}

/** The SRs on a host, known to the pool or not, in the XML of SR.probe. @throws what `assertFileSr` says, HOST_OFFLINE */
export async function probeSrs(deps: StorageDeps, host: Ref<'host'>, type: string, config: Strings): Promise<string> {
  assertFileSr(type, config, false);
  const uuids = await storageOf(deps, host).listSrs();
  return `<?xml version="1.0" ?><SRlist>${uuids.map((uuid) => `<SR><UUID>${uuid}</UUID></SR>`).join('')}</SRlist>`;
}
