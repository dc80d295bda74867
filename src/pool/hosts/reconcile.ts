/**
 * Bringing VMs' records to what a host says of its domains. A host's word counts for the domains on it; a host that is silent
 * says nothing. Events are only the reason to look: what counts is the host's state, read after them.
 */

import type { Ref } from '../../../idl/index.js';
import type { GuestEnd } from '../../base/domain.js';
import type { Log } from '../../base/log.js';
import type { HostState } from '../../host/service/service.js';
import { decodeDoubt } from '../../migrate/in-doubt.js';
import type { Database, RecordView } from '../database/database.js';
import type { Route } from '../database/migration-table.js';
import { hostNamed, tellOfVm } from '../events/messages.js';
import {
  clearDoubt,
  clearLeftBehind,
  isLeftBehind,
  markInDoubt,
  putLeftBehind,
  tellLeftBehind,
} from '../vm-records/in-doubt.js';
import { setHalted, setResident, setSuspended } from '../vm-records/lifecycle.js';

export interface ReconcileDeps {
  readonly db: Database;
  readonly log: Log;
  readonly now: () => Date;
  /** Between which hosts a VM is migrating now, or may have migrated in doubt. */
  readonly routeOf: (vm: Ref<'VM'>) => Route | undefined;
  /** The VM has been seen running at the host to which it was migrating. */
  readonly arrived: (vm: Ref<'VM'>) => void;
}

export interface Findings {
  /** Some records changed after the state was read: read it again. */
  readonly stale: boolean;
  /** Uuids of domains that are not to run here, as their VM is elsewhere or was given up here; and why. */
  readonly doubles: readonly (readonly [uuid: string, reason: string])[];
  /** VMs that are here, and by their record on another host, which nobody has given up: only that one can say which of both is wrong. */
  readonly strays: readonly Ref<'VM'>[];
  /** VMs whose guest has ended by itself, and how. */
  readonly ended: readonly (readonly [vm: Ref<'VM'>, how: GuestEnd])[];
  /** Uuids of VMs that were settled while this host, the source of their migration, was away: it asks for an outcome still. */
  readonly settled: readonly string[];
}

type Domain = HostState['domains'][number];

/**
 * Bring the records of all VMs to a host's state.
 * @param readAt the database's generation before the state was asked for
 */
export function reconcileHost(deps: ReconcileDeps, host: Ref<'host'>, state: HostState, readAt: number): Findings {
  const { db } = deps;
  const domains = new Map(state.domains.map((domain) => [domain.uuid, domain]));
  const doubles: [uuid: string, reason: string][] = [];
  const strays: Ref<'VM'>[] = [];
  const ended: [vm: Ref<'VM'>, how: GuestEnd][] = [];
  const settled: string[] = [];
  let stale = false;
  const known = state.domains.flatMap(({ uuid }) => db.findByUuid('VM', uuid) ?? []);
  const left = db.all('VM').flatMap(([ref]) => (isLeftBehind(db, ref, state.uuid) ? [ref] : []));
  for (const ref of new Set([...db.get('host', host).resident_VMs, ...known, ...left])) {
    const vm = db.get('VM', ref);
    if (vm.is_control_domain) continue;
    const domain = domains.get(vm.uuid);
    const here = vm.resident_on === host;
    const route = deps.routeOf(ref);
    if (route !== undefined) followMigration(deps, ref, host, state, domain, route);
    else if (Object.keys(vm.current_operations).length > 0) continue;
    else if (db.modified('VM', ref) > readAt) stale = true;
    else if (domain?.state === 'shutdown') ended.push([ref, howEnded(domain)]);
    else if (!here && domain !== undefined && !isAtRest(vm) && !isLeftBehind(db, ref, state.uuid)) strays.push(ref);
    else if (!here && isLeftBehind(db, ref, state.uuid)) {
      if (domain === undefined && state.leaving?.includes(vm.uuid)) settled.push(vm.uuid);
      else if (abandoned(deps, ref, host, state, domain)) doubles.push([vm.uuid, whyNotHere(db, vm)]);
    } else if (domain === undefined && state.leaving?.includes(vm.uuid)) continue;
    else if (domain === undefined) lost(deps, ref, vm, host, state);
    else {
      if (vm.power_state === 'Running' && domain.state === 'paused') tellStalled(deps, ref, host, domain);
      reconcileVm(deps, ref, host, state);
    }
  }
  return { stale, doubles, strays, ended, settled };
}

/**
 * Bring the record of a stray to where it is, as the host where its record has it has nothing of it: the record is older than the hosts.
 * @param there that host's state, undefined where it does not answer; what may come or have gone from there by a migration counts too
 * @returns the VM's uuid, and why its copy here is not to run, where that is so and is yet to be told
 */
export function reconcileStray(
  deps: ReconcileDeps,
  ref: Ref<'VM'>,
  host: Ref<'host'>,
  state: HostState,
  there: HostState | undefined,
): readonly [uuid: string, reason: string] | undefined {
  const vm = deps.db.get('VM', ref);
  const domain = state.domains.find(({ uuid }) => uuid === vm.uuid);
  const has = there === undefined || everythingOf(there).includes(vm.uuid);
  if (has || domain?.inDoubt !== undefined) {
    return abandoned(deps, ref, host, state, domain) ? [vm.uuid, whyNotHere(deps.db, vm)] : undefined;
  }
  deps.log.warn(`VM ${vm.uuid} is on host ${state.name}: its record was older than that`);
  reconcileVm(deps, ref, host, state);
  return undefined;
}

/** The uuids of all VMs of which a host has something, or may have it soon. */
export function everythingOf({ domains, suspended = [], leaving = [], arriving = [] }: HostState): string[] {
  return [...domains.map(({ uuid }) => uuid), ...suspended, ...leaving, ...arriving];
}

/**
 * A copy that is not to run, as its VM is elsewhere, or was given up on this host.
 * @returns whether it is yet to be told so
 */
function abandoned(
  deps: ReconcileDeps,
  ref: Ref<'VM'>,
  host: Ref<'host'>,
  state: HostState,
  domain: Domain | undefined,
): boolean {
  if (domain === undefined) {
    // One that the host may yet take, of a migration that was given up, is found when it is there.
    const { uuid } = deps.db.get('VM', ref);
    if (state.arriving?.includes(uuid) === false) clearLeftBehind(deps.db, ref, state.uuid);
    return false;
  }
  putLeftBehind(deps.db, ref, state.uuid);
  tellLeftBehind(deps, ref, deps.db.get('host', host).name_label);
  // A migration would lift its own mark, and let the copy run.
  return domain.inDoubt === undefined || decodeDoubt(domain.inDoubt).by === 'migration';
}

function whyNotHere(db: Database, { uuid, resident_on }: RecordView<'VM'>): string {
  const elsewhere = db.find('host', resident_on)?.name_label;
  const why = elsewhere === undefined ? 'it was given up on this host' : `it is on host ${elsewhere}`;
  return `VM ${uuid} is not to run here: ${why}, as an operator has said, or as it was started there`;
}

function isAtRest({ power_state }: RecordView<'VM'>): boolean {
  return power_state === 'Halted' || power_state === 'Suspended';
}

/** A host of an earlier version does not say it; there a guest ends only where its memory cannot be written. */
export function howEnded({ ended }: Domain): GuestEnd {
  return ended ?? 'crash';
}

/** Bring one VM's record to its domain, or its suspend image, on the host where it is meant to be. */
export function reconcileVm(deps: ReconcileDeps, ref: Ref<'VM'>, host: Ref<'host'>, state: HostState): void {
  const { db, now } = deps;
  const { uuid, resident_on } = db.get('VM', ref);
  const domain = state.domains.find((each) => each.uuid === uuid);
  if (domain === undefined) {
    if (resident_on !== host) return;
    if (state.suspended?.includes(uuid)) setSuspended(db, ref, now());
    else setHalted(db, ref, now());
    clearDoubt(deps, ref);
    return;
  }
  if (domain.state !== 'running' && domain.state !== 'paused') return;
  const powerState = domain.state === 'running' ? 'Running' : 'Paused';
  setResident(db, ref, { host, powerState, domid: domain.domid }, now());
  clearLeftBehind(db, ref, state.uuid);
  if (domain.inDoubt === undefined) clearDoubt(deps, ref);
  else markInDoubt(deps, ref, domain.inDoubt);
}

/**
 * While a VM migrates two things count: that its copy is in doubt, and that it runs at the destination. What else happens there the
 * migration's end tells.
 */
function followMigration(
  deps: ReconcileDeps,
  ref: Ref<'VM'>,
  host: Ref<'host'>,
  state: HostState,
  domain: Domain | undefined,
  { source, destination }: Route,
): void {
  const onRoute = host === source || host === destination;
  if (onRoute && domain?.inDoubt !== undefined) markInDoubt(deps, ref, domain.inDoubt);
  if (destination !== host || domain?.state !== 'running') return;
  // To the same host: the old copy runs there under the same name until its end.
  if (deps.db.get('VM', ref).resident_on === host) return;
  reconcileVm(deps, ref, host, state);
  deps.arrived(ref);
}

function tellStalled(deps: ReconcileDeps, ref: Ref<'VM'>, host: Ref<'host'>, { stalled }: Domain): void {
  if (stalled === undefined) return;
  tellOfVm(deps, 'VM_STALLED', ref, `is paused on ${hostNamed(deps.db, host)}: ${stalled}`);
}

function lost(deps: ReconcileDeps, ref: Ref<'VM'>, vm: RecordView<'VM'>, host: Ref<'host'>, state: HostState): void {
  reconcileVm(deps, ref, host, state);
  const became = deps.db.get('VM', ref).power_state.toLowerCase();
  const where = hostNamed(deps.db, host);
  if (became === 'suspended') tellOfVm(deps, 'VM_SUSPENDED', ref, `was suspended on ${where}`);
  else tellOfVm(deps, 'VM_CRASHED', ref, `is gone from ${where} without having been shut down`);
  deps.log.warn(`the domain of VM ${vm.uuid} is gone from host ${state.name}: the VM is ${became}`);
}
