/**
 * Domains and suspend images of which the pool has no record, as after the restore of an older database: told of, listed, taken
 * over as a VM, or destroyed. What belongs to a migration is none of them.
 */

import type { RecordOf, Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { Found } from '../../host/service/domains.js';
import type { HostState } from '../../host/service/service.js';
import { decodeDoubt } from '../../migrate/in-doubt.js';
import { recordWithDefaults } from '../../model/value.js';
import { hostNamed, type MessageDeps, tellInstead, withdraw } from '../events/messages.js';
import type { PlacementDeps } from '../hosts/placement.js';
import { everythingOf } from '../hosts/reconcile.js';
import { createVm } from '../vm-records/create.js';
import { type DomainDeps, settingsAsFields } from '../vm-records/domain-spec.js';
import { setSuspended } from '../vm-records/lifecycle.js';

export type UnknownDomainsDeps = PlacementDeps & DomainDeps & MessageDeps & { readonly log: Log };

const messageName = 'HOST_DOMAINS_UNKNOWN';

/**
 * @returns looks at each state of a host as it comes. What no record knows twice in a row is told of: once alone it may be what a
 *   record that has just gone leaves for a moment.
 */
export function createDomainWatch(deps: UnknownDomainsDeps): (host: Ref<'host'>, state: HostState) => void {
  const before = new Map<Ref<'host'>, readonly string[]>();
  const told = new Map<Ref<'host'>, string>();
  const tell = async (host: Ref<'host'>, hostUuid: string, uuids: readonly string[]): Promise<void> => {
    const listed = (await unknownDomains(deps, host)).map(({ uuid }) => uuid);
    const unknown = uuids.filter((uuid) => listed.includes(uuid));
    // What migrates may be left of it at its end.
    if (unknown.length < uuids.length) told.delete(host);
    if (unknown.length === 0) return withdraw(deps.db, messageName, hostUuid);
    const body = [
      `On ${hostNamed(deps.db, host)} there are domains or suspended VMs without a record: ${unknown.join(', ')}.`,
      'See xe host-domain-list, host-domain-adopt and host-domain-destroy.',
    ].join(' ');
    if (!tellInstead(deps, messageName, 'Host', hostUuid, body)) return;
    const { hostname } = deps.db.get('host', host);
    deps.log.warn(`host ${hostname} has domains or suspended VMs without a record: ${unknown.join(', ')}`);
  };
  return (host, state) => {
    const now = unknownIn(deps, state);
    const last = before.get(host);
    before.set(host, now);
    if (last === undefined) return;
    const unknown = now.filter((uuid) => last.includes(uuid)).sort();
    if (told.get(host) === unknown.join()) return;
    told.set(host, unknown.join());
    if (unknown.length === 0) return withdraw(deps.db, messageName, state.uuid);
    tell(host, state.uuid, unknown).catch((error: unknown) => {
      told.delete(host);
      deps.log.debug(`what host ${state.name} has without a record is not known yet`, { error });
    });
  };
}

/** The uuids of what a host has and no record knows. */
function unknownIn({ db }: MessageDeps, { domains, suspended = [], leaving = [], arriving = [] }: HostState): string[] {
  const here = domains
    .filter(({ inDoubt }) => inDoubt === undefined || decodeDoubt(inDoubt).by !== 'migration')
    .map(({ uuid }) => uuid);
  const migrating = new Set([...leaving, ...arriving]);
  return [...new Set([...here, ...suspended])].filter(
    (uuid) => db.findByUuid('VM', uuid) === undefined && !migrating.has(uuid),
  );
}

/** What a host has and no record knows, apart from what migrates. @throws HANDLE_INVALID, HOST_OFFLINE */
export async function unknownDomains(deps: UnknownDomainsDeps, host: Ref<'host'>): Promise<Found[]> {
  const found = await foundOn(deps, host);
  return found.filter(({ uuid, held }) => held === undefined && deps.db.findByUuid('VM', uuid) === undefined);
}

/**
 * Make a VM of what a host has and no record knows. It has the memory, virtual CPUs and virtual GPUs that are there, no disks and no
 * interfaces, and its domain goes on.
 * @param name its name-label; the domain's where undefined
 * @throws DUPLICATE_VM [vm] where there is a record, UUID_INVALID [class, uuid], OPERATION_NOT_ALLOWED for what is in doubt, and where
 *   another host has a domain of the same VM
 */
export async function adoptDomain(
  deps: UnknownDomainsDeps,
  host: Ref<'host'>,
  uuid: string,
  name: string | undefined,
): Promise<Ref<'VM'>> {
  const { db, members, now, log } = deps;
  const found = await findUnknown(deps, host, uuid);
  if (found.inDoubt !== undefined) throw refused(uuid, `it is in doubt: ${found.inDoubt}`);
  if (found.state === 'shutdown') throw refused(uuid, 'its guest has ended: it can only be destroyed');
  await assertNowhereElse(deps, host, uuid, everythingOf);
  assertUnknown(deps, uuid);
  const { state } = found;
  const spec = deps.checkSpec(found.spec);
  const memory = spec.memoryBytes;
  const vm = createVm(
    deps,
    {
      ...(recordWithDefaults('VM') as RecordOf<'VM'>),
      name_label: name ?? spec.name,
      user_version: 1,
      memory_static_min: memory,
      memory_dynamic_min: memory,
      memory_dynamic_max: memory,
      memory_static_max: memory,
      VCPUs_max: spec.vcpus,
      VCPUs_at_startup: spec.vcpus,
      actions_after_shutdown: 'destroy',
      actions_after_reboot: 'restart',
      actions_after_crash: 'destroy',
      HVM_boot_policy: 'BIOS order',
      ...settingsAsFields(spec),
    },
    now(),
    uuid,
  );
  for (const device of spec.vgpus) db.create('VGPU', { VM: vm, device });
  log.warn(`VM ${uuid} has a record again: it was taken over from host ${db.get('host', host).hostname}`, { state });
  // Where the host does not answer now, its next word brings the record to the domain.
  if (state === 'suspended') setSuspended(db, vm, now());
  else await members.reconcile(vm, host).catch((error: unknown) => log.warn(`VM ${uuid} is yet to be seen`, { error }));
  await db.saved();
  return vm;
}

/** Destroy what a host has and no record knows. @throws as `adoptDomain` does, and OPERATION_NOT_ALLOWED for what migrates */
export async function destroyUnknown(deps: UnknownDomainsDeps, host: Ref<'host'>, uuid: string): Promise<void> {
  await findUnknown(deps, host, uuid);
  await assertNowhereElse(deps, host, uuid, ({ leaving = [], arriving = [] }) => [...leaving, ...arriving]);
  assertUnknown(deps, uuid);
  await deps.members.service(host).callPlugin('domains', 'destroy', { uuid });
}

/** All that a host has of VMs. @throws HANDLE_INVALID, HOST_OFFLINE */
async function foundOn({ members }: UnknownDomainsDeps, host: Ref<'host'>): Promise<Found[]> {
  return JSON.parse(await members.service(host).callPlugin('domains', 'list', {})) as Found[];
}

async function findUnknown(deps: UnknownDomainsDeps, host: Ref<'host'>, uuid: string): Promise<Found> {
  assertUnknown(deps, uuid);
  const one = (await foundOn(deps, host)).find((each) => each.uuid === uuid);
  if (one === undefined) throw new XapiError('UUID_INVALID', ['VM', uuid]);
  if (one.held !== undefined) throw refused(uuid, one.held);
  return one;
}

function assertUnknown({ db }: UnknownDomainsDeps, uuid: string): void {
  const known = db.findByUuid('VM', uuid);
  if (known !== undefined) throw new XapiError('DUPLICATE_VM', [known]);
}

/**
 * Of two copies nobody knows which is the VM. A host that does not answer has its copy paused when it does.
 * @param of what of a host's state counts as a copy
 */
async function assertNowhereElse(
  { db, members }: UnknownDomainsDeps,
  host: Ref<'host'>,
  uuid: string,
  of: (state: HostState) => readonly string[],
): Promise<void> {
  for (const [other] of db.all('host')) {
    const state = other === host ? undefined : await members.state(other).catch(() => undefined);
    if (state !== undefined && of(state).includes(uuid)) {
      throw refused(uuid, `${hostNamed(db, other)} has a copy of it, or may have one soon`);
    }
  }
}

function refused(uuid: string, why: string): XapiError {
  return new XapiError('OPERATION_NOT_ALLOWED', [`domain ${uuid} is left alone: ${why}`]);
}
