/** On which host a call about a VM runs: where the VM is, or where it could be started. */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { HostService } from '../../host/service/service.js';
import type { Database } from '../database/database.js';
import { settlingCommand } from '../vm-records/in-doubt.js';
import { domainMemory } from '../vm-records/memory-limits.js';
import { isLive } from './host-records.js';
import type { Members } from './members.js';

export interface PlacementDeps {
  readonly db: Database;
  readonly members: Members;
}

/** The host on which a VM is. @throws HOST_OFFLINE [host] where it does not answer */
export function hostOf({ db, members }: PlacementDeps, vm: Ref<'VM'>): { host: Ref<'host'>; service: HostService } {
  const { resident_on: host, power_state, uuid } = db.get('VM', vm);
  if (db.find('host', host) === undefined) {
    throw new XapiError('INTERNAL_ERROR', [`VM ${uuid} is ${power_state} and yet on no host`]);
  }
  if (!isLive(db, host)) throw new XapiError('HOST_OFFLINE', [host]);
  return { host, service: members.service(host) };
}

/**
 * Check that a host could take the VM now.
 * @throws HANDLE_INVALID, HOST_DISABLED, HOST_OFFLINE, VM_REQUIRES_NETWORK, VM_REQUIRES_SR, HOST_NOT_ENOUGH_FREE_MEMORY
 */
export async function assertCanTake({ db, members }: PlacementDeps, host: Ref<'host'>, vm: Ref<'VM'>): Promise<void> {
  const row = db.get('host', host);
  if (!row.enabled) throw new XapiError('HOST_DISABLED', [host]);
  if (!isLive(db, host)) throw new XapiError('HOST_OFFLINE', [host]);
  assertReachesDevices(db, host, vm);
  const record = db.get('VM', vm);
  const { resident_on, uuid } = record;
  const needed = domainMemory(record);
  const { memoryFree, domains } = await members.state(host);
  if (resident_on !== host && domains.some((domain) => domain.uuid === uuid)) {
    const copy = `host ${row.name_label} has a copy of ${vm} that is not to run`;
    throw new XapiError('OPERATION_NOT_ALLOWED', [`${copy}; to destroy it: ${settlingCommand(uuid)}`]);
  }
  if (memoryFree < needed) throw new XapiError('HOST_NOT_ENOUGH_FREE_MEMORY', [String(needed), String(memoryFree)]);
}

/** Check that a host reaches the networks and disks of a VM. @throws HANDLE_INVALID, VM_REQUIRES_NETWORK, VM_REQUIRES_SR */
export function assertReachesDevices(db: Database, host: Ref<'host'>, vm: Ref<'VM'>): void {
  const { VIFs, VBDs } = db.get('VM', vm);
  for (const vif of VIFs) {
    const { network } = db.get('VIF', vif);
    if (!hasNetwork(db, host, network)) throw new XapiError('VM_REQUIRES_NETWORK', [vm, network]);
  }
  for (const vbd of VBDs) assertReachesDisk(db, host, vbd);
}

/** Check that a host reaches a disk. @throws VM_REQUIRES_SR [vm, sr] where a disk is on storage that the host does not have */
export function assertReachesDisk(db: Database, host: Ref<'host'>, vbd: Ref<'VBD'>): void {
  const { VM, VDI } = db.get('VBD', vbd);
  const vdi = db.find('VDI', VDI);
  if (vdi === undefined) return;
  const pbds = (db.find('SR', vdi.SR)?.PBDs ?? []).map((pbd) => db.get('PBD', pbd));
  if (pbds.some((pbd) => pbd.host === host && pbd.currently_attached)) return;
  throw new XapiError('VM_REQUIRES_SR', [VM, vdi.SR]);
}

/** Whether a host is on a network. One without interfaces is internal, and there on every host. */
export function hasNetwork(db: Database, host: Ref<'host'>, network: Ref<'network'>): boolean {
  const pifs = (db.find('network', network)?.PIFs ?? []).map((pif) => db.get('PIF', pif));
  return pifs.length === 0 || pifs.some((pif) => pif.host === host && pif.currently_attached);
}

/** The hosts that could take the VM now. */
export async function possibleHosts(deps: PlacementDeps, vm: Ref<'VM'>): Promise<Ref<'host'>[]> {
  const hosts = deps.db.all('host').map(([ref]) => ref);
  const fits = await Promise.all(
    hosts.map((host) =>
      assertCanTake(deps, host, vm).then(
        () => true,
        () => false,
      ),
    ),
  );
  return hosts.filter((_, index) => fits[index]);
}

/**
 * The host to start a VM on: its affinity where that can take it, else the one with the most free memory.
 * @throws HOST_NOT_ENOUGH_FREE_MEMORY where memory is what all lack, NO_HOSTS_AVAILABLE where none could take it anyway
 */
export async function chooseHost(deps: PlacementDeps, vm: Ref<'VM'>): Promise<Ref<'host'>> {
  const { db, members } = deps;
  const { affinity } = db.get('VM', vm);
  const candidates: { host: Ref<'host'>; free: number }[] = [];
  let short: XapiError | undefined;
  for (const [host] of db.all('host')) {
    try {
      await assertCanTake(deps, host, vm);
      if (host === affinity) return host;
      candidates.push({ host, free: (await members.state(host)).memoryFree });
    } catch (error) {
      if (!(error instanceof XapiError)) throw error;
      if (error.code !== 'HOST_NOT_ENOUGH_FREE_MEMORY') continue;
      if (short === undefined || Number(error.params[1]) > Number(short.params[1])) short = error;
    }
  }
  const [best] = candidates.sort((a, b) => b.free - a.free);
  if (best === undefined) throw short ?? new XapiError('NO_HOSTS_AVAILABLE');
  return best.host;
}
