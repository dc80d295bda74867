/**
 * VM.receive, the pool's side: another pool's source is about to send a VM to a host of this one. The VM's record is made
 * here, halted and held, and goes again if the migration does not take. A host that is too busy is asked before there is one.
 */
import { randomUUID } from 'node:crypto';
import type { Ref } from '../../../idl/index.js';
import { invalidValue, messageOf, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { HostEvent, VmMetadata } from '../../host/service/service.js';
import { decodeMetadata, encodeReply } from '../../migrate/metadata.js';
import type { Fate } from '../../migrate/protocol.js';
import type { MigrationSessions } from '../access/migration-sessions.js';
import type { SessionService } from '../access/sessions.js';
import type { Arrival, MigrationTable } from '../database/migration-table.js';
import { isLive } from '../hosts/host-records.js';
import type { PlacementDeps } from '../hosts/placement.js';
import { removeVm, setArrivedSuspended } from '../vm-records/lifecycle.js';
import { assertMacSeedIsFree, macSeedKey } from '../vm-records/mac-seed.js';
import { checkRecords, importVm } from '../vm-records/portable.js';

export interface ArrivalsDeps extends PlacementDeps {
  readonly sessions: Pick<SessionService, 'keep'>;
  readonly migrationSessions: Pick<MigrationSessions, 'claim' | 'end'>;
  readonly table: MigrationTable;
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

export function createArrivals(deps: ArrivalsDeps): Arrivals {
  const { db, table, members } = deps;
  const hold = (vm: Ref<'VM'>, id: string): void => db.putInMap('VM', vm, 'current_operations', id, 'migrate_send');
  const sessions = new Map<string, { readonly session: Ref<'session'> | undefined; readonly letGo: () => void }>();
  const release = (vm: Ref<'VM'>, id: string): void => {
    sessions.get(id)?.letGo();
    sessions.delete(id);
    if (db.find('VM', vm) !== undefined) db.removeFromMap('VM', vm, 'current_operations', id);
  };
  /** A migration is over; its session goes on where a newer attempt of the same VM came by it. */
  const endSession = (id: string): void => {
    const session = sessions.get(id)?.session;
    const others = [...sessions].filter(([other]) => other !== id);
    if (!others.some(([, each]) => each.session === session)) deps.migrationSessions.end(session);
  };
  const forget = async (vm: Ref<'VM'>, id: string): Promise<void> => {
    await table.removeArrival(id);
    endSession(id);
    release(vm, id);
  };
  /** Asked of their hosts just now, which may not have heard of them. */
  const asking = new Set<string>();
  const ending = new Set<string>();
  const taken = async ({ id, vm, host, rest }: Arrival): Promise<void> => {
    if (rest === 'suspended' && db.find('VM', vm) !== undefined) setArrivedSuspended(db, vm, deps.now());
    await db.saved();
    await forget(vm, id);
    await db.saved();
    if (rest !== undefined) note(id, host);
  };
  /** Where the host does not hear it now, it tells the end again when it starts anew. */
  const note = (id: string, host: Ref<'host'>): void => {
    const noted = async () => members.service(host).noted(id);
    noted().catch((error: unknown) => deps.log.debug(`migration ${id} is not forgotten yet: ${messageOf(error)}`));
  };
  /** The record stays where another attempt of the same VM needs it. */
  const refused = async ({ id, vm, host, rest }: Arrival): Promise<void> => {
    // The record goes first: without the row that holds it, it could be started.
    ending.add(id);
    if (!table.arrivals().some((other) => other.vm === vm && !ending.has(other.id))) removeVm(db, vm);
    await db.saved();
    await table.removeArrival(id);
    ending.delete(id);
    release(vm, id);
    await db.saved();
    if (rest !== undefined) note(id, host);
  };
  /** Of one that has no domain by which it is found the host says what became of it. */
  const catchUpUnseen = async (arrival: Arrival): Promise<void> => {
    const fate = await fateOf(deps, arrival);
    if (fate === 'done') {
      if (arrival.rest === undefined) await members.reconcile(arrival.vm, arrival.host);
      await taken(arrival);
    } else if (fate === 'refused') await over(arrival);
  };
  /** A migration that had begun has not taken. */
  const over = async (arrival: Arrival): Promise<void> => {
    endSession(arrival.id);
    await refused(arrival);
  };
  /** References of records that are yet to be made, by the VM's uuid. */
  const coming = new Map<string, Ref<'VM'>>();
  /** The record of an earlier attempt serves a later one. @returns its reference, once the metadata is checked; whether it is there or not */
  const refFor = (metadata: VmMetadata): Ref<'VM'> => {
    const { uuid } = metadata.domain;
    const existing = db.findByUuid('VM', uuid);
    if (existing !== undefined) {
      if (table.arrivals().some((arrival) => arrival.vm === existing)) return existing;
      throw new XapiError('DUPLICATE_VM', [existing]);
    }
    recordMaker(deps, metadata);
    return coming.get(uuid) ?? (`OpaqueRef:${randomUUID()}` as Ref<'VM'>);
  };
  /** A record without the row that holds it could be started, so the row comes first. */
  const putRecord = async (arrival: Arrival, metadata: VmMetadata): Promise<void> => {
    const { uuid } = metadata.domain;
    coming.set(uuid, arrival.vm);
    try {
      await table.putArrival(arrival);
      if (db.find('VM', arrival.vm) === undefined) recordMaker(deps, metadata)(arrival.vm);
      hold(arrival.vm, arrival.id);
    } finally {
      coming.delete(uuid);
    }
    await db.saved();
  };
  /** @throws INVALID_VALUE where the migration_id is that of another migration, which came or leaves */
  const assertOwn = (host: Ref<'host'>, migrationId: string, { domain, rest }: VmMetadata): void => {
    const known = table.arrival(migrationId);
    const isOwn =
      known === undefined
        ? table.departure(migrationId) === undefined
        : known.host === host && known.rest === rest && db.find('VM', known.vm)?.uuid === domain.uuid;
    if (!isOwn) throw invalidValue('migration_id', migrationId, 'one that no other migration has');
  };
  /** @throws TOO_BUSY until it is the migration's turn; before that, what is wrong with it */
  const assertTurn = async (host: Ref<'host'>, migrationId: string, metadata: VmMetadata): Promise<void> => {
    if (table.arrival(migrationId) !== undefined) return;
    refFor(metadata);
    await members.service(host).assertTurn(migrationId, metadata.domain.uuid);
  };
  const begin = async (
    host: Ref<'host'>,
    migrationId: string,
    metadata: VmMetadata,
    session: Ref<'session'> | undefined,
  ): Promise<Record<string, string>> => {
    assertOwn(host, migrationId, metadata);
    await assertTurn(host, migrationId, metadata);
    const known = table.arrival(migrationId);
    const vm = known?.vm ?? refFor(metadata);
    const older = table.arrivals().filter((arrival) => arrival.vm === vm && arrival.id !== migrationId);
    const { rest } = metadata;
    const arrival: Arrival = known ?? { id: migrationId, vm, host, ...(rest === undefined ? {} : { rest }) };
    asking.add(migrationId);
    if (!sessions.has(migrationId)) sessions.set(migrationId, { session, letGo: deps.sessions.keep(session) });
    try {
      await putRecord(arrival, metadata);
      const { records: _ours, ...forHost } = metadata;
      const reply = await members.service(host).receive({ migrationId, metadata: forHost });
      // Before the source hears it: from then on it may send the VM, whatever becomes of this daemon.
      if (table.arrival(migrationId) !== undefined) await table.putArrival({ ...arrival, answered: true });
      for (const { id } of older) {
        await table.removeArrival(id);
        release(vm, id);
      }
      return encodeReply({ ...reply, vm });
    } catch (error) {
      if (known === undefined) await refused(arrival);
      throw error;
    } finally {
      asking.delete(migrationId);
    }
  };
  /** By migration_id, the calls that are answered just now: one after the other. */
  const calls = new Map<string, Promise<unknown>>();

  return {
    async receive(host, migrationId, text, session) {
      const metadata = decodeMetadata(text);
      deps.migrationSessions.claim(session, host, metadata.domain.uuid);
      assertMayReceive(deps, host);
      const call = (calls.get(migrationId) ?? Promise.resolve()).then(() =>
        begin(host, migrationId, metadata, session),
      );
      const ended = call.then(noop, noop);
      calls.set(migrationId, ended);
      return call.finally(() => {
        if (calls.get(migrationId) === ended) calls.delete(migrationId);
      });
    },
    forget,
    resume() {
      for (const { id, vm } of table.arrivals()) {
        if (db.find('VM', vm) !== undefined) hold(vm, id);
        else
          table
            .removeArrival(id)
            .catch((error: unknown) => deps.log.error(`migration ${id} is not forgotten`, { error }));
      }
    },
    async catchUp(host) {
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
          await taken(arrival);
        } else if (domain === undefined) await catchUpUnseen(arrival);
      }
    },
    async event(event) {
      if (event.kind !== 'receive-ended') return;
      const arrival = table.arrival(event.migrationId);
      if (arrival === undefined) return;
      if (!event.taken) {
        deps.log.info(`migration ${arrival.id} has not taken: the VM's record goes`);
        await over(arrival);
        return;
      }
      const { vm, host, rest } = arrival;
      if (rest === undefined && db.find('VM', vm) !== undefined) await members.reconcile(vm, host);
      await taken(arrival);
    },
    arrived(vm) {
      const arrival = table.arrivals().find((each) => each.vm === vm);
      if (arrival === undefined) return;
      taken(arrival).catch((error: unknown) => deps.log.error(`migration ${arrival.id} is not forgotten`, { error }));
    },
  };
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

const noop = (): void => undefined;

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
