/** What the operations on SRs and VDIs share: the host that has an SR, its usage, and what a scan must leave alone. */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { HostStorage, SrUsage } from '../../host/storage/storage.js';
import { nullRef } from '../../model/value.js';
import type { Database } from '../database/database.js';
import { isLive } from '../hosts/host-records.js';
import type { PlacementDeps } from '../hosts/placement.js';
import type { VolumeJournal } from './volume-journal.js';

export interface StorageDeps extends PlacementDeps {
  readonly log: Log;
  readonly volumes: VolumeJournal;
  readonly now: () => Date;
}

/** The host's side of an SR. */
export interface SrAccess {
  readonly host: Ref<'host'>;
  readonly uuid: string;
  readonly storage: HostStorage;
}

/**
 * The host to which an SR is attached.
 * @throws HANDLE_INVALID, SR_HAS_NO_PBDS [sr] where it is attached nowhere, HOST_OFFLINE [host]
 */
export function accessTo({ db, members }: PlacementDeps, sr: Ref<'SR'>): SrAccess {
  const { PBDs, uuid } = db.get('SR', sr);
  const hosts = PBDs.map((pbd) => db.get('PBD', pbd)).filter((pbd) => pbd.currently_attached);
  const host = (hosts.find((pbd) => isLive(db, pbd.host)) ?? hosts[0])?.host;
  if (host === undefined) throw new XapiError('SR_HAS_NO_PBDS', [sr]);
  return { host, uuid, storage: storageOf({ db, members }, host) };
}

/** @throws HANDLE_INVALID, HOST_OFFLINE [host] */
export function storageOf({ db, members }: PlacementDeps, host: Ref<'host'>): HostStorage {
  db.get('host', host);
  if (!isLive(db, host)) throw new XapiError('HOST_OFFLINE', [host]);
  return members.service(host).storage;
}

/** Bring an SR's figures to what its host says. @throws what `accessTo` and the host throw */
export async function refreshUsage(deps: PlacementDeps, sr: Ref<'SR'>): Promise<void> {
  putUsage(deps.db, sr, await readUsage(deps, sr));
}

/** Read an SR's figures anew after a change that stands whatever comes of them: the next change or SR.update mends the figures. */
export async function tryRefreshUsage(deps: PlacementDeps, sr: Ref<'SR'>): Promise<void> {
  await refreshUsage(deps, sr).catch(() => undefined);
}

/** @throws what `accessTo` and the host throw */
export async function readUsage(deps: PlacementDeps, sr: Ref<'SR'>): Promise<SrUsage> {
  const { host, uuid, storage } = accessTo(deps, sr);
  return whileLive(deps.db, host, storage.statSr(uuid));
}

/** Put an SR's figures into its record, where there is one. */
export function putUsage(db: Database, sr: Ref<'SR'>, { physicalSize, physicalUtilisation }: SrUsage): void {
  const row = db.find('SR', sr);
  if (row === undefined) return;
  const virtual_allocation = row.VDIs.reduce((bytes, vdi) => bytes + db.get('VDI', vdi).virtual_size, 0);
  db.update('SR', sr, {
    physical_size: physicalSize,
    physical_utilisation: physicalUtilisation,
    virtual_allocation,
  });
}

/** What a host answers, for as long as it does. @throws HOST_OFFLINE [host] when it does not any more, what the call throws */
export async function whileLive<T>(db: Database, host: Ref<'host'>, call: Promise<T>): Promise<T> {
  let stop = (): void => undefined;
  const lost = new Promise<never>((_resolve, reject) => {
    stop = db.onChange((cls) => {
      if (cls !== 'host_metrics' && cls !== 'host') return;
      if (db.find('host', host) === undefined || !isLive(db, host)) reject(new XapiError('HOST_OFFLINE', [host]));
    });
  });
  return Promise.race([call, lost]).finally(stop);
}

/** Remove a VDI's record. A drive that holds it is empty then; a disk of a VM goes with it. */
export function removeVdi(db: Database, vdi: Ref<'VDI'>): void {
  for (const vbd of db.get('VDI', vdi).VBDs) {
    if (db.get('VBD', vbd).type === 'CD') db.update('VBD', vbd, { VDI: nullRef as Ref<'VDI'>, empty: true });
    else db.destroy('VBD', vbd);
  }
  db.destroy('VDI', vdi);
}
