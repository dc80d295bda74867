/**
 * Bringing VMs' records to what a host says of its domains. A host's word counts for the domains on it; a host that is silent
 * says nothing. Events are only the reason to look: what counts is the host's state, read after them.
 */
import type { Ref } from '../../idl/index.js';
import type { Log } from '../base/log.js';
import type { HostState } from '../host/service.js';
import type { Database, RecordView } from './database.js';
import { setHalted, setResident, setSuspended } from './power.js';

export interface ResidenceDeps {
  readonly db: Database;
  readonly log: Log;
  readonly now: () => Date;
  /** The host to which a VM is migrating now, or may have migrated in doubt. */
  readonly destinationOf: (vm: Ref<'VM'>) => Ref<'host'> | undefined;
  /** The VM has been seen running at the host to which it was migrating. */
  readonly arrived: (vm: Ref<'VM'>) => void;
}

export interface Findings {
  /** Some records changed after the state was read: read it again. */
  readonly stale: boolean;
  /** Uuids of domains that run here while their VM's record says that it is elsewhere. */
  readonly doubles: readonly string[];
  /** Uuids of domains whose guest has shut down by itself. */
  readonly ended: readonly string[];
}

type Domain = HostState['domains'][number];

/**
 * Bring the records of all VMs to a host's state.
 * @param readAt the database's generation before the state was asked for
 */
export function reconcile(deps: ResidenceDeps, host: Ref<'host'>, state: HostState, readAt: number): Findings {
  const { db } = deps;
  const domains = new Map(state.domains.map((domain) => [domain.uuid, domain]));
  const doubles: string[] = [];
  const ended: string[] = [];
  let stale = false;
  const known = state.domains.flatMap(({ uuid }) => db.findByUuid('VM', uuid) ?? []);
  for (const ref of new Set([...db.get('host', host).resident_VMs, ...known])) {
    const vm = db.get('VM', ref);
    if (vm.is_control_domain) continue;
    const domain = domains.get(vm.uuid);
    const here = vm.resident_on === host;
    if (deps.destinationOf(ref) !== undefined) followMigration(deps, ref, host, state, domain);
    else if (Object.keys(vm.current_operations).length > 0) continue;
    else if (db.modified('VM', ref) > readAt) stale = true;
    else if (domain === undefined) lost(deps, ref, vm, host, state);
    else if (domain.state === 'shutdown') ended.push(vm.uuid);
    else if (here || isAtRest(vm)) settle(deps, ref, host, state);
    else if (domain.state === 'running') doubles.push(vm.uuid);
  }
  return { stale, doubles, ended };
}

function isAtRest({ power_state }: RecordView<'VM'>): boolean {
  return power_state === 'Halted' || power_state === 'Suspended';
}

/** Bring one VM's record to its domain, or its suspend image, on the host where it is meant to be. */
export function settle(deps: ResidenceDeps, ref: Ref<'VM'>, host: Ref<'host'>, state: HostState): void {
  const { db, now } = deps;
  const { uuid, resident_on } = db.get('VM', ref);
  const domain = state.domains.find((each) => each.uuid === uuid);
  if (domain === undefined) {
    if (resident_on !== host) return;
    if (state.suspended?.includes(uuid)) setSuspended(db, ref, now());
    else setHalted(db, ref, now());
    return;
  }
  if (domain.state !== 'running' && domain.state !== 'paused') return;
  const powerState = domain.state === 'running' ? 'Running' : 'Paused';
  setResident(db, ref, { host, powerState, domid: domain.domid }, now());
}

/** While a VM migrates one thing counts: that it runs at the destination. What else happens there the migration's end tells. */
function followMigration(
  deps: ResidenceDeps,
  ref: Ref<'VM'>,
  host: Ref<'host'>,
  state: HostState,
  domain: Domain | undefined,
): void {
  if (deps.destinationOf(ref) !== host || domain?.state !== 'running') return;
  // To the same host: the old copy runs there under the same name until its end.
  if (deps.db.get('VM', ref).resident_on === host) return;
  settle(deps, ref, host, state);
  deps.arrived(ref);
}

function lost(deps: ResidenceDeps, ref: Ref<'VM'>, vm: RecordView<'VM'>, host: Ref<'host'>, state: HostState): void {
  settle(deps, ref, host, state);
  const became = deps.db.get('VM', ref).power_state.toLowerCase();
  deps.log.warn(`the domain of VM ${vm.uuid} is gone from host ${state.name}: the VM is ${became}`);
}
