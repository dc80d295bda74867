/**
 * VM.receive, the pool's side: another pool's source is about to send a VM to a host of this one. The VM's record is made
 * here, halted and held, and goes again if the migration does not take. A host that is too busy is asked before there is one.
 */
import { randomUUID } from 'node:crypto';
import type { Ref } from '../../../idl/index.js';
import { defined } from '../../base/defined.js';
import { invalidValue, messageOf, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { HostEvent, ReceiveReply, VmMetadata } from '../../host/service/service.js';
import { decodeMetadata, encodeReply } from '../../migrate/metadata.js';
import type { Fate } from '../../migrate/protocol.js';
import type { MigrationSessions } from '../access/migration-sessions.js';
import type { SessionService } from '../access/sessions.js';
import { beginHold, endHold } from '../database/hold.js';
import type { Arrival, MigrationTable } from '../database/migration-table.js';
import { isLive } from '../hosts/host-records.js';
import type { PlacementDeps } from '../hosts/placement.js';
import type { DomainDeps } from '../vm-records/domain-spec.js';
import { removeVm, setArrivedSuspended } from '../vm-records/lifecycle.js';
import { assertMacSeedIsFree, macSeedKey } from '../vm-records/mac-seed.js';
import { checkRecords, importVm } from '../vm-records/portable.js';

type VmRef = Ref<'VM'>;

export interface ArrivalsDeps extends PlacementDeps, DomainDeps {
  readonly sessions: Pick<SessionService, 'keep'>;
  readonly migrationSessions: Pick<MigrationSessions, 'claim' | 'end'>;
  readonly table: MigrationTable;
  /** Resolves when what was written outlives a loss of power. */
  readonly flushed: () => Promise<void>;
  readonly log: Log;
  readonly now: () => Date;
}

export interface Arrivals {
  /**
   * Same migration_id, same reply.
   * @param metadata JSON, as src/migrate/metadata has it
   * @param session lives until the end; one that is for this migration alone ends then
   * @throws INVALID_VALUE [migration_id, id] where it is that of another migration, RBAC_PERMISSION_DENIED where the session is for another
   */
  receive(
    host: Ref<'host'>,
    migrationId: string,
    metadata: string,
    session?: Ref<'session'>,
  ): Promise<Record<string, string>>;
  /** A host answers again: the VMs that it has taken meanwhile are there. */
  catchUp(host: Ref<'host'>): Promise<void>;
  /** Hold the VMs that were still on their way when this daemon began. */
  resume(): void;
  event(event: HostEvent): Promise<void>;
  /** A VM runs at the destination of its migration. */
  arrived(vm: Ref<'VM'>): void;
  /** An operator has decided what becomes of a VM: its migration is over, and its record stays. */
  forget(vm: Ref<'VM'>, migrationId: string): Promise<void>;
}

interface Context extends ArrivalsDeps {
  /** The sessions by which migrations under way came, by the migrations' ids. */
  readonly kept: Map<string, KeptSession>;
  /** Ids of those that hosts are asked to take just now, which may not have heard of them. */
  readonly asking: Set<string>;
  /** Ids of those whose records go. */
  readonly ending: Set<string>;
  /** References of records that are yet to be made, by the VM's uuid. */
  readonly coming: Map<string, VmRef>;
}

interface KeptSession {
  readonly session: Ref<'session'> | undefined;
  readonly letGo: () => void;
}

/** A call of VM.receive. */
interface ReceiveCall {
  readonly host: Ref<'host'>;
  readonly migrationId: string;
  readonly metadata: VmMetadata;
  readonly session: Ref<'session'> | undefined;
}

/** Make the migrations that come from other pools. */
export function createArrivals(deps: ArrivalsDeps): Arrivals {
  const { db, table } = deps;
  const context: Context = { ...deps, kept: new Map(), asking: new Set(), ending: new Set(), coming: new Map() };
  const inTurn = createTurns();
  return {
    async receive(host, migrationId, text, session) {
      const told = decodeMetadata(text);
      const metadata = { ...told, domain: deps.checkSpec(told.domain) };
      deps.migrationSessions.claim(session, host, metadata.domain.uuid);
      assertMayReceive(deps, host);
      return inTurn(migrationId, () => receive(context, { host, migrationId, metadata, session }));
    },
    forget: (vm, id) => forget(context, vm, id),
    resume() {
      for (const { id, vm } of table.arrivals()) {
        if (db.find('VM', vm) !== undefined) holdArriving(context, vm, id);
        else table.removeArrival(id).catch(notForgotten(deps, id));
      }
    },
    catchUp: (host) => catchUp(context, host),
    event: (event) => hear(context, event),
    arrived(vm) {
      const arrival = table.arrivals().find((each) => each.vm === vm);
      if (arrival !== undefined) taken(context, arrival).catch(notForgotten(deps, arrival.id));
    },
  };
}

function notForgotten({ log }: ArrivalsDeps, id: string): (error: unknown) => void {
  return (error) => log.error(`migration ${id} is not forgotten`, { error });
}

/**
 * @returns runs the calls with the same key one after the other
 */
function createTurns() {
  const last = new Map<string, Promise<unknown>>();
  return <T>(key: string, work: () => Promise<T>): Promise<T> => {
    const call = (last.get(key) ?? Promise.resolve()).then(work);
    const over = call.then(noop, noop);
    last.set(key, over);
    return call.finally(() => {
      if (last.get(key) === over) last.delete(key);
    });
  };
}

const noop = (): void => undefined;

function holdArriving({ db }: Context, vm: VmRef, id: string): void {
  beginHold(db, { cls: 'VM', ref: vm }, 'migrate_send', id);
}

function release({ db, kept }: Context, vm: VmRef, id: string): void {
  kept.get(id)?.letGo();
  kept.delete(id);
  endHold(db, { cls: 'VM', ref: vm }, id);
}

/** End the session of a migration that is over, unless a newer attempt of the same VM came by that session. */
function endSession({ kept, migrationSessions }: Context, id: string): void {
  const session = kept.get(id)?.session;
  const others = [...kept].filter(([other]) => other !== id);
  if (!others.some(([, each]) => each.session === session)) migrationSessions.end(session);
}

async function forget(deps: Context, vm: VmRef, id: string): Promise<void> {
  await deps.table.removeArrival(id);
  endSession(deps, id);
  release(deps, vm, id);
}

/** A migration has taken: the VM's record, which says so already of one that runs, is free. */
async function taken(deps: Context, { id, vm, host, rest }: Arrival): Promise<void> {
  const { db } = deps;
  if (rest === 'suspended' && db.find('VM', vm) !== undefined) setArrivedSuspended(db, vm, deps.now());
  await db.saved();
  await forget(deps, vm, id);
  await db.saved();
  if (rest !== undefined) noteEnd(deps, id, host);
}

/** A migration has not taken, or has not begun: the VM's record goes, unless another attempt of the same VM needs the record. */
async function refused(deps: Context, { id, vm, host, rest }: Arrival): Promise<void> {
  const { db, table, ending } = deps;
  // The record goes first: without the row that holds it, it could be started.
  ending.add(id);
  if (!table.arrivals().some((other) => other.vm === vm && !ending.has(other.id))) removeVm(db, vm);
  await db.saved();
  await table.removeArrival(id);
  ending.delete(id);
  release(deps, vm, id);
  await db.saved();
  if (rest !== undefined) noteEnd(deps, id, host);
}

/** A migration that had begun has not taken. */
async function over(deps: Context, arrival: Arrival): Promise<void> {
  endSession(deps, arrival.id);
  await refused(deps, arrival);
}

/** Tell a host that the end of a migration is known here; where the host does not hear this now, it tells the end again when it starts anew. */
function noteEnd({ members, log }: Context, id: string, host: Ref<'host'>): void {
  const noted = async () => members.service(host).noted(id);
  noted().catch((error: unknown) => log.debug(`migration ${id} is not forgotten yet: ${messageOf(error)}`));
}

async function catchUp(deps: Context, host: Ref<'host'>): Promise<void> {
  const { db, table, members, asking } = deps;
  const open = table
    .arrivals()
    .filter(({ id, host: to, vm }) => to === host && db.find('VM', vm) !== undefined && !asking.has(id));
  if (open.length === 0) return;
  const { domains, arriving } = await members.state(host);
  for (const arrival of open) {
    const { vm } = arrival;
    const { uuid } = db.get('VM', vm);
    const domain = arrival.rest === undefined ? domains.find((each) => each.uuid === uuid) : undefined;
    // One that does not run may be about to, or have come to be so.
    const isHere = domain?.state === 'running' || (domain !== undefined && arriving?.includes(uuid) === false);
    if (isHere) {
      await members.reconcile(vm, host);
      await taken(deps, arrival);
    } else if (domain === undefined) await catchUpUnseen(deps, arrival);
  }
}

/** Ask the host what became of a migration that has no domain by which it is found. */
async function catchUpUnseen(deps: Context, arrival: Arrival): Promise<void> {
  const fate = await fateOf(deps, arrival);
  if (fate === 'done') {
    if (arrival.rest === undefined) await deps.members.reconcile(arrival.vm, arrival.host);
    await taken(deps, arrival);
  } else if (fate === 'refused') await over(deps, arrival);
}

async function hear(deps: Context, event: HostEvent): Promise<void> {
  if (event.kind !== 'receive-ended') return;
  const arrival = deps.table.arrival(event.migrationId);
  if (arrival === undefined) return;
  if (!event.taken) {
    deps.log.info(`migration ${arrival.id} has not taken: the VM's record goes`);
    await over(deps, arrival);
    return;
  }
  const { vm, host, rest } = arrival;
  if (rest === undefined && deps.db.find('VM', vm) !== undefined) await deps.members.reconcile(vm, host);
  await taken(deps, arrival);
}

async function receive(deps: Context, call: ReceiveCall): Promise<Record<string, string>> {
  const { table, kept, asking } = deps;
  const { host, migrationId, metadata, session } = call;
  assertOwn(deps, call);
  await assertTurn(deps, call);
  const known = table.arrival(migrationId);
  const vm = known?.vm ?? refFor(deps, metadata);
  const older = table.arrivals().filter((arrival) => arrival.vm === vm && arrival.id !== migrationId);
  const arrival: Arrival = known ?? defined({ id: migrationId, vm, host, rest: metadata.rest });
  asking.add(migrationId);
  if (!kept.has(migrationId)) kept.set(migrationId, { session, letGo: deps.sessions.keep(session) });
  try {
    const reply = await askHost(deps, arrival, metadata);
    for (const { id } of older) {
      await table.removeArrival(id);
      release(deps, vm, id);
    }
    return encodeReply({ ...reply, vm });
  } catch (error) {
    if (known === undefined) await refused(deps, arrival);
    throw error;
  } finally {
    asking.delete(migrationId);
  }
}

/** @throws INVALID_VALUE where the migration_id is that of another migration, which came or leaves */
function assertOwn({ db, table }: Context, { host, migrationId, metadata }: ReceiveCall): void {
  const { domain, rest } = metadata;
  const known = table.arrival(migrationId);
  const isOwn =
    known === undefined
      ? table.departure(migrationId) === undefined
      : known.host === host && known.rest === rest && db.find('VM', known.vm)?.uuid === domain.uuid;
  if (!isOwn) throw invalidValue('migration_id', migrationId, 'one that no other migration has');
}

/** @throws TOO_BUSY until it is the migration's turn; before that, what is wrong with it */
async function assertTurn(deps: Context, { host, migrationId, metadata }: ReceiveCall): Promise<void> {
  if (deps.table.arrival(migrationId) !== undefined) return;
  refFor(deps, metadata);
  await deps.members.service(host).assertTurn(migrationId, metadata.domain.uuid);
}

/**
 * The record of an earlier attempt serves a later one.
 * @returns the record's reference, once the metadata is checked; whether the record is there or not
 */
function refFor(deps: Context, metadata: VmMetadata): VmRef {
  const { uuid } = metadata.domain;
  const existing = deps.db.findByUuid('VM', uuid);
  if (existing !== undefined) {
    if (deps.table.arrivals().some((arrival) => arrival.vm === existing)) return existing;
    throw new XapiError('DUPLICATE_VM', [existing]);
  }
  recordMaker(deps, metadata);
  return deps.coming.get(uuid) ?? (`OpaqueRef:${randomUUID()}` as VmRef);
}

/**
 * Make the record of a VM that is to come, and have its host get ready.
 * @returns what the source is to hear
 */
async function askHost(deps: Context, arrival: Arrival, metadata: VmMetadata): Promise<ReceiveReply> {
  const { table, members, flushed } = deps;
  await putRecord(deps, arrival, metadata);
  const { records: _ours, ...forHost } = metadata;
  const reply = await members.service(arrival.host).receive({ migrationId: arrival.id, metadata: forHost });
  // Before the source hears it: from then on it may send the VM, whatever becomes of this daemon.
  if (table.arrival(arrival.id) !== undefined) await table.putArrival({ ...arrival, answered: true });
  await flushed();
  return reply;
}

/** Make a record, with the row first: a record without the row that holds it could be started. */
async function putRecord(deps: Context, arrival: Arrival, metadata: VmMetadata): Promise<void> {
  const { uuid } = metadata.domain;
  deps.coming.set(uuid, arrival.vm);
  try {
    await deps.table.putArrival(arrival);
    if (deps.db.find('VM', arrival.vm) === undefined) recordMaker(deps, metadata)(arrival.vm);
    holdArriving(deps, arrival.vm, arrival.id);
  } finally {
    deps.coming.delete(uuid);
  }
  await deps.db.saved();
}

/**
 * What a host says of an arrival. One of which it has never heard it refuses from then on; of one that was answered, and that it does
 * not know, nothing is known: a source may have sent it, and both have forgotten it since.
 */
export function fateOf({ db, members }: PlacementDeps, { id, vm, host, rest, answered }: Arrival): Promise<Fate> {
  const service = members.service(host);
  if (rest === undefined && answered === true) return service.received(id);
  return service.refuseUnknown(id, db.get('VM', vm).uuid);
}

function assertMayReceive({ db }: ArrivalsDeps, host: Ref<'host'>): void {
  if (!db.get('host', host).enabled) throw new XapiError('HOST_DISABLED', [host]);
  if (!isLive(db, host)) throw new XapiError('HOST_OFFLINE', [host]);
}

/** @throws where the records or networks are none that this pool can take */
function recordMaker({ db }: ArrivalsDeps, metadata: VmMetadata): (ref: Ref<'VM'>) => void {
  const records = checkRecords(metadata.records);
  const networks = new Map(metadata.vifs.map((vif) => [vif.uuid, vif.network as Ref<'network'>]));
  for (const network of networks.values()) db.get('network', network);
  assertMacSeedIsFree(db, records.vm.other_config[macSeedKey]);
  return (ref) => importVm(db, metadata.domain.uuid, records, networks, ref);
}
