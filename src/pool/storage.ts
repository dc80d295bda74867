/** What the operations on SRs and VDIs share: the host that has an SR, its usage, and what a scan must leave alone. */
import type { Ref } from '../../idl/index.js';
import { XapiError } from '../base/errors.js';
import { nullRef } from '../base/value.js';
import type { HostStorage } from '../host/storage.js';
import type { Database } from './database.js';
import type { ForwardDeps } from './forward.js';
import { isLive } from './host-rows.js';

export interface StorageDeps extends ForwardDeps {
  readonly volumes: VolumeGuard;
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
export function accessTo({ db, members }: ForwardDeps, sr: Ref<'SR'>): SrAccess {
  const { PBDs, uuid } = db.get('SR', sr);
  const hosts = PBDs.map((pbd) => db.get('PBD', pbd)).filter((pbd) => pbd.currently_attached);
  const host = (hosts.find((pbd) => isLive(db, pbd.host)) ?? hosts[0])?.host;
  if (host === undefined) throw new XapiError('SR_HAS_NO_PBDS', [sr]);
  return { host, uuid, storage: storageOf({ db, members }, host) };
}

/** @throws HANDLE_INVALID, HOST_OFFLINE [host] */
export function storageOf({ db, members }: ForwardDeps, host: Ref<'host'>): HostStorage {
  db.get('host', host);
  if (!isLive(db, host)) throw new XapiError('HOST_OFFLINE', [host]);
  return members.service(host).storage;
}

/** Bring an SR's figures to what its host says. @throws what `accessTo` and the host throw */
export async function refreshUsage(deps: ForwardDeps, sr: Ref<'SR'>): Promise<void> {
  const { uuid, storage } = accessTo(deps, sr);
  const { physicalSize, physicalUtilisation } = await storage.statSr(uuid);
  const { db } = deps;
  const row = db.find('SR', sr);
  if (row === undefined) return;
  const virtual_allocation = row.VDIs.reduce((bytes, vdi) => bytes + db.get('VDI', vdi).virtual_size, 0);
  db.update('SR', sr, {
    physical_size: physicalSize,
    physical_utilisation: physicalUtilisation,
    virtual_allocation,
  });
}

/** The same after a change that stands whatever comes of the figures, which the next change or SR.update mends. */
export async function tryRefreshUsage(deps: ForwardDeps, sr: Ref<'SR'>): Promise<void> {
  await refreshUsage(deps, sr).catch(() => undefined);
}

/** Remove a VDI's record. A drive that holds it is empty then; a disk of a VM goes with it. */
export function removeVdi(db: Database, vdi: Ref<'VDI'>): void {
  for (const vbd of db.get('VDI', vdi).VBDs) {
    if (db.get('VBD', vbd).type === 'CD') db.update('VBD', vbd, { VDI: nullRef as Ref<'VDI'>, empty: true });
    else db.destroy('VBD', vbd);
  }
  db.destroy('VDI', vdi);
}

/** Tells scans which volumes come and go meanwhile, so that they make no record of those and remove none. */
export interface VolumeGuard {
  /** @param volume its uuid */
  change<T>(volume: string, work: () => Promise<T>): Promise<T>;
  /** @param work gets the volumes that have been changing at any time since it began; ask when it is to count */
  scan<T>(work: (changing: ReadonlySet<string>) => Promise<T>): Promise<T>;
}

export function createVolumeGuard(): VolumeGuard {
  const changing = new Set<string>();
  const scans = new Set<Set<string>>();
  return {
    async change(volume, work) {
      changing.add(volume);
      for (const seen of scans) seen.add(volume);
      try {
        return await work();
      } finally {
        changing.delete(volume);
      }
    },
    async scan(work) {
      const seen = new Set(changing);
      scans.add(seen);
      try {
        return await work(seen);
      } finally {
        scans.delete(seen);
      }
    },
  };
}
