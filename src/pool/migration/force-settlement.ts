/**
 * VM.power_state_reset: an operator's word on a VM of which the hosts cannot say what it is, because one of them is gone for good.
 *
 * Hosts that answer are asked first, and what they say counts. A VM that is known to run stays where it runs, and every copy in
 * doubt beside it is destroyed. Where none runs, one copy in doubt goes on: the destination's, as it has taken the VM, else the
 * source's. Where no host that answers has a copy, the VM is halted; one that was to come from another pool is not of this one then,
 * and its record goes. Hosts that do not answer and may have a copy are written down: a copy that comes back with one of them is
 * paused there, in doubt, and the next reset destroys it.
 */
import type { Ref } from '../../../idl/index.js';
import { defined } from '../../base/defined.js';
import { toXapiError, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { HostState } from '../../host/service/service.js';
import { migrateFailed, toWireError } from '../../migrate/request.js';
import type { Database } from '../database/database.js';
import type { Arrival, Departure, MigrationTable } from '../database/migration-table.js';
import type { OpenJob, PoolJobs } from '../hosts/jobs.js';
import type { PlacementDeps } from '../hosts/placement.js';
import { discardImage } from '../hosts/suspend-image.js';
import { clearDoubt, clearLeftBehind, isLeftBehind, putLeftBehind } from '../vm-records/in-doubt.js';
import { removeVm, setArrivedSuspended, setHalted } from '../vm-records/lifecycle.js';
import { withVm } from '../vm-records/vm-allowed-operations.js';
import { migrations } from '../vm-records/vm-operation-rules.js';
import { type Arrivals, fateOf } from './arrivals.js';
import type { Departures } from './departures.js';
import { isAtRest } from './outcome.js';

export interface ForceSettlementDeps extends PlacementDeps {
  readonly table: MigrationTable;
  readonly jobs: PoolJobs;
  readonly departures: Pick<Departures, 'giveUp'>;
  readonly arrivals: Pick<Arrivals, 'forget'>;
  readonly log: Log;
  readonly now: () => Date;
}

type VmRef = Ref<'VM'>;
type HostRef = Ref<'host'>;

/** What the hosts say of one VM. */
interface Inquiry {
  readonly answering: readonly HostRef[];
  readonly silent: readonly HostRef[];
  /** Hosts that answer, and say what they are doing. */
  readonly telling: readonly HostRef[];
  /** Hosts that answer and may yet take the VM. */
  readonly arriving: readonly HostRef[];
  readonly copies: readonly Copy[];
  readonly departures: readonly Departure[];
  readonly arrivals: readonly Arrival[];
  /** Hosts that may be doing something with the VM that was asked of them. */
  readonly jobs: readonly OpenJob[];
}

interface Copy {
  readonly host: HostRef;
  readonly domain: HostState['domains'][number];
}

/**
 * Settle a VM, which the caller holds, by force.
 * @throws DOMAIN_EXISTS [vm, domid] where nothing is in doubt and a host that answers has its domain,
 *   OTHER_OPERATION_IN_PROGRESS [class, vm, operation, task] for a migration whose host here answers and that is not in doubt; one
 *   from another pool is named by its id; and for what a host that answers is doing with it
 */
export async function resetPowerState(deps: ForceSettlementDeps, task: string, vm: VmRef): Promise<void> {
  const { db } = deps;
  const { uuid } = db.get('VM', vm);
  const inquiry = await inquire(deps, vm);
  assertNotBusy(deps, vm, inquiry);
  if (await isNeverToCome(deps, inquiry)) return removeArrival(deps, vm, inquiry);
  if (await settleAtRest(deps, vm, inquiry)) return;
  assertNotUnderWay(vm, inquiry);
  const kept = await settleCopies(deps, vm, inquiry);
  deps.log.warn(`VM ${uuid} is settled by an operator`, {
    vm: uuid,
    on: kept === undefined ? 'no host' : db.get('host', kept).hostname,
  });
  writeDownSilent(deps, vm, inquiry, kept);
  if (kept === undefined && inquiry.arrivals.length > 0) return removeArrival(deps, vm, inquiry);
  // The rows hold the VM, so they go when its record is right.
  if (kept === undefined) await halt(deps, task, vm);
  else await deps.members.reconcile(vm, kept);
  await giveUpMigrations(deps, vm, inquiry);
  await deps.jobs.giveUp(vm);
  await tellSources(deps, uuid, inquiry, kept);
  clearDoubt(deps, vm);
  await db.saved();
}

/**
 * host.declare_dead: settle every VM that is on a host, or migrates from or to it, one after the other.
 * @throws HANDLE_INVALID, OPERATION_NOT_ALLOWED where the host answers; when all are done, what refused the first VM that was not settled
 */
export async function declareDead(deps: ForceSettlementDeps, task: string, host: HostRef): Promise<void> {
  const { db, jobs, members, table } = deps;
  const { name_label, resident_VMs } = db.get('host', host);
  const answers = await members.state(host).then(
    () => true,
    () => false,
  );
  if (answers) throw new XapiError('OPERATION_NOT_ALLOWED', [`${host} (${name_label}) answers: it is not dead`]);
  const asked = jobs.ofHost(host).map(({ vm }) => vm);
  const moving = table.departures().filter(({ source, destination }) => source === host || destination === host);
  const vms = new Set([...resident_VMs, ...moving.map(({ vm }) => vm), ...asked]);
  let refused: unknown;
  for (const vm of vms) {
    if (db.find('VM', vm)?.is_control_domain !== false) continue;
    await withVm(db, vm, 'power_state_reset', task, () => resetPowerState(deps, task, vm)).catch((error: unknown) => {
      deps.log.warn(`VM ${vm} is not settled`, { error });
      refused ??= error;
    });
  }
  if (refused !== undefined) throw refused;
}

async function inquire({ db, jobs, members, table }: ForceSettlementDeps, vm: VmRef): Promise<Inquiry> {
  const { uuid } = db.get('VM', vm);
  const hosts = db.all('host').map(([ref]) => ref);
  const states = await Promise.all(hosts.map((host) => members.state(host).catch(() => undefined)));
  return {
    answering: hosts.filter((_, index) => states[index] !== undefined),
    silent: hosts.filter((_, index) => states[index] === undefined),
    telling: hosts.filter((_, index) => states[index]?.busy !== undefined),
    arriving: hosts.filter((_, index) => states[index]?.arriving?.includes(uuid)),
    copies: hosts.flatMap((host, index) => {
      const domain = states[index]?.domains.find((each) => each.uuid === uuid);
      return domain === undefined ? [] : [{ host, domain }];
    }),
    departures: table.departures().filter((row) => row.vm === vm),
    arrivals: table.arrivals().filter((row) => row.vm === vm),
    jobs: jobs.openOn(vm),
  };
}

/** What a host that says so has begun it ends by itself, and a call that waits for its end is not cut short. */
function assertNotBusy({ db }: ForceSettlementDeps, vm: VmRef, { telling, jobs }: Inquiry): void {
  for (const [task, operation] of Object.entries(db.get('VM', vm).current_operations)) {
    if (operation === 'power_state_reset' || migrations.includes(operation)) continue;
    const open = jobs.find((job) => job.task === task);
    if (open !== undefined && !telling.includes(open.row.host)) continue;
    throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', vm, operation, task]);
  }
}

/** Whether it comes from another pool, and every host to which it was to come refuses it: for good, even where it is asked only now. */
async function isNeverToCome(deps: ForceSettlementDeps, { arrivals, answering, copies }: Inquiry): Promise<boolean> {
  if (arrivals.length === 0 || copies.length > 0) return false;
  for (const arrival of arrivals) {
    if (!answering.includes(arrival.host) || (await fateOf(deps, arrival)) !== 'refused') return false;
  }
  return true;
}

/** A VM that has not come from another pool: there it may run still, so here it is to be started by nobody. */
async function removeArrival(deps: ForceSettlementDeps, vm: VmRef, inquiry: Inquiry): Promise<void> {
  const { uuid } = deps.db.get('VM', vm);
  deps.log.warn(`VM ${uuid} has not come from its pool: its record goes`, { vm: uuid });
  removeVm(deps.db, vm);
  await giveUpMigrations(deps, vm, inquiry);
}

/**
 * A VM that does not run, and is or may be handed over: where the word is given, there it is from then on. It can only be on a host
 * that says so, where it comes from another pool.
 * @returns whether it is such a VM
 */
async function settleAtRest(deps: ForceSettlementDeps, vm: VmRef, inquiry: Inquiry): Promise<boolean> {
  const { db, members } = deps;
  const { uuid } = db.get('VM', vm);
  const departures = inquiry.departures.filter(isAtRest);
  const arrivals = inquiry.arrivals.filter(({ rest }) => rest !== undefined);
  if (departures.length + arrivals.length === 0) return false;
  assertNotUnderWay(vm, { ...inquiry, arrivals: [] });
  const open = (host: HostRef) => inquiry.answering.includes(host);
  for (const { source } of departures) if (open(source)) await members.service(source).forceSettlement(uuid, 'here');
  for (const { host, id } of arrivals) {
    if (!open(host)) continue;
    await members
      .service(host)
      .forceSettlement(uuid, 'here')
      .catch((error: unknown) => {
        const { code } = toXapiError(error);
        // It is being taken just now, or has nothing of it yet.
        if (code !== 'OTHER_OPERATION_IN_PROGRESS' && code !== 'OPERATION_NOT_ALLOWED') throw error;
        throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', vm, 'migrate_send', id]);
      });
  }
  deps.log.warn(`VM ${uuid} is settled by an operator`, { vm: uuid });
  for (const { host, rest } of arrivals)
    if (rest === 'suspended' && open(host)) setArrivedSuspended(db, vm, deps.now());
  if (departures.length === 0 && !arrivals.some(({ host }) => open(host))) {
    await removeArrival(deps, vm, inquiry);
    return true;
  }
  await giveUpMigrations(deps, vm, inquiry);
  clearDoubt(deps, vm);
  await db.saved();
  for (const { host, id } of arrivals) {
    if (open(host)) await members.service(host).noted(id);
  }
  return true;
}

/** What can still end by itself is not cut short: its task can be cancelled, which of one from another pool is there. */
function assertNotUnderWay(vm: VmRef, inquiry: Inquiry): void {
  const inDoubt = (host: HostRef) =>
    inquiry.copies.some((copy) => copy.host === host && copy.domain.inDoubt !== undefined);
  for (const { source, inDoubt: told, operation, task } of inquiry.departures) {
    if (told || inDoubt(source) || !inquiry.answering.includes(source)) continue;
    throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', vm, operation, task]);
  }
  for (const { host, id } of inquiry.arrivals) {
    if (inDoubt(host) || !inquiry.arriving.includes(host)) continue;
    throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', vm, 'migrate_send', id]);
  }
}

/**
 * What may still take the VM refuses before a copy goes on, and what is in doubt goes when that runs: at no moment do two run, and
 * at none is the only copy destroyed.
 * @returns the host on which the VM goes on; undefined where no host that answers has it
 */
async function settleCopies(deps: ForceSettlementDeps, vm: VmRef, inquiry: Inquiry): Promise<HostRef | undefined> {
  const { db, members } = deps;
  const { uuid } = db.get('VM', vm);
  const { sound, kept } = choose(db, vm, inquiry);
  const open = inquiry.departures.length + inquiry.arrivals.length + inquiry.jobs.length;
  if (sound !== undefined && inquiry.copies.length === 1 && open === 0) {
    throw new XapiError('DOMAIN_EXISTS', [vm, String(sound.domain.domid)]);
  }
  const refuse = async (host: HostRef): Promise<void> => {
    const service = members.service(host);
    if (inquiry.copies.some((copy) => copy.host === host))
      await service.doubt(uuid, 'an operator has given this copy up');
    await service.forceSettlement(uuid, 'elsewhere');
    clearLeftBehind(db, vm, db.get('host', host).uuid);
  };
  const destinations = answeringDestinations(inquiry).filter((host) => host !== kept);
  for (const host of destinations) await refuse(host);
  if (kept !== undefined && sound === undefined) await members.service(kept).forceSettlement(uuid, 'here');
  for (const { host } of inquiry.copies) if (host !== kept && !destinations.includes(host)) await refuse(host);
  return kept;
}

/** A copy that is known to run, or could, else one in doubt: the destination's, which has taken the VM, first. What was given up stays so. */
function choose(db: Database, vm: VmRef, { copies, departures }: Inquiry): { kept?: HostRef; sound?: Copy } {
  const { resident_on } = db.get('VM', vm);
  const possible = copies
    .filter(({ host, domain }) => domain.state !== 'shutdown' && !isLeftBehind(db, vm, db.get('host', host).uuid))
    .sort((a, b) => Number(b.host === resident_on) - Number(a.host === resident_on));
  const sound = possible.find(({ domain }) => domain.inDoubt === undefined);
  if (sound !== undefined) return { kept: sound.host, sound };
  const arrived = possible.find(({ host }) => departures.some(({ destination }) => destination === host));
  const kept = arrived ?? possible[0];
  return defined({ kept: kept?.host });
}

/** The destinations on other hosts: each may be about to take the VM, of which it has no copy under its name until then. */
function answeringDestinations({ answering, departures, arrivals }: Inquiry): HostRef[] {
  const within = departures.flatMap(({ source, destination }) =>
    destination !== undefined && destination !== source && answering.includes(destination) ? [destination] : [],
  );
  return [...within, ...arrivals.map(({ host }) => host).filter((host) => answering.includes(host))];
}

/** The hosts that may come back with a copy. */
function writeDownSilent({ db }: ForceSettlementDeps, vm: VmRef, inquiry: Inquiry, kept: HostRef | undefined): void {
  const possible = new Set<HostRef | undefined>([
    db.get('VM', vm).resident_on,
    ...inquiry.departures.flatMap(({ source, destination }) => [source, destination]),
    ...inquiry.arrivals.map(({ host }) => host),
  ]);
  for (const { row } of inquiry.jobs) if (row.host !== kept) putLeftBehind(db, vm, db.get('host', row.host).uuid);
  for (const host of inquiry.silent) if (possible.has(host)) putLeftBehind(db, vm, db.get('host', host).uuid);
}

async function giveUpMigrations(
  { db, departures, arrivals }: ForceSettlementDeps,
  vm: VmRef,
  inquiry: Inquiry,
): Promise<void> {
  await db.saved();
  for (const { id, request } of inquiry.departures) {
    const error = migrateFailed(request, 'given up: an operator has settled the VM with VM.power_state_reset');
    await departures.giveUp(id, { status: 'failure', error: toWireError(error) });
  }
  for (const { id } of inquiry.arrivals) await arrivals.forget(vm, id);
}

/** A source whose copy is gone, with its power, asks for ever after an outcome that counts no more. */
async function tellSources(
  { members, log }: ForceSettlementDeps,
  uuid: string,
  { departures, answering, copies }: Inquiry,
  kept: HostRef | undefined,
): Promise<void> {
  for (const { source } of departures) {
    if (source === kept || !answering.includes(source) || copies.some(({ host }) => host === source)) continue;
    await members
      .service(source)
      .forceSettlement(uuid, 'elsewhere')
      .catch((error: unknown) => {
        log.warn(`VM ${uuid}: its source is not told that it was settled`, { error });
      });
  }
}

async function halt(deps: ForceSettlementDeps, task: string, vm: VmRef): Promise<void> {
  if (deps.db.get('VM', vm).power_state === 'Suspended') {
    await discardImage(deps, { operation: 'power_state_reset', task }, vm).catch((error: unknown) => {
      deps.log.warn(`the suspend image of VM ${vm} stays where it is`, { error });
    });
  }
  setHalted(deps.db, vm, deps.now());
}
