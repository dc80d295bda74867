/**
 * VM.receive, the pool's side: another pool's source is about to send a VM to a host of this one. The VM's record is made
 * here, halted and held, and goes again if the migration does not take. A host that is too busy is asked before there is one.
 */
import type { Ref } from '../../idl/index.js';
import { XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { HostEvent, VmMetadata } from '../host/service.js';
import { decodeMetadata, encodeReply } from '../migrate/metadata.js';
import type { ForwardDeps } from './forward.js';
import { isLive } from './host-rows.js';
import { assertMacSeedIsFree, macSeedKey } from './mac-seed.js';
import type { MigrationTable } from './migration-table.js';
import { checkRecords, importVm } from './portable-record.js';
import { removeVm } from './power.js';
import type { SessionService } from './session.js';

export interface VmReceiveDeps extends ForwardDeps {
  readonly sessions: Pick<SessionService, 'keep'>;
  readonly table: MigrationTable;
  readonly log: Log;
}

export interface VmReceive {
  /** Same migration_id, same reply. @param metadata JSON, as src/migrate/metadata has it @param session lives until the end */
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
}

export function createVmReceive(deps: VmReceiveDeps): VmReceive {
  const { db, table, members } = deps;
  const hold = (vm: Ref<'VM'>, id: string): void => db.putInMap('VM', vm, 'current_operations', id, 'migrate_send');
  const sessions = new Map<string, () => void>();
  const release = (vm: Ref<'VM'>, id: string): void => {
    sessions.get(id)?.();
    sessions.delete(id);
    if (db.find('VM', vm) !== undefined) db.removeFromMap('VM', vm, 'current_operations', id);
  };
  const taken = async (id: string, vm: Ref<'VM'>): Promise<void> => {
    await table.remove(id);
    release(vm, id);
    await db.saved();
  };
  /** The record stays where another attempt of the same VM needs it. */
  const refused = async (id: string, vm: Ref<'VM'>): Promise<void> => {
    await table.remove(id);
    release(vm, id);
    if (!table.arrivals().some((other) => other.vm === vm)) removeVm(db, vm);
    await db.saved();
  };
  /** The record of an earlier attempt serves a later one. @returns what finds or makes it, once the metadata is checked */
  const recordFor = (metadata: VmMetadata): (() => Ref<'VM'>) => {
    const existing = db.findByUuid('VM', metadata.domain.uuid);
    if (existing === undefined) return recordMaker(deps, metadata);
    if (table.arrivals().some((arrival) => arrival.vm === existing)) return () => existing;
    throw new XapiError('DUPLICATE_VM', [existing]);
  };
  /** @throws TOO_BUSY until it is the migration's turn; before that, what is wrong with it */
  const assertTurn = async (host: Ref<'host'>, migrationId: string, metadata: VmMetadata): Promise<void> => {
    if (table.arrival(migrationId) !== undefined) return;
    recordFor(metadata);
    await members.service(host).assertTurn(migrationId, metadata.domain.uuid);
  };

  return {
    async receive(host, migrationId, text, session) {
      const metadata = decodeMetadata(text);
      assertMayReceive(deps, host);
      await assertTurn(host, migrationId, metadata);
      const known = table.arrival(migrationId);
      const vm = known?.vm ?? recordFor(metadata)();
      const older = table.arrivals().filter((arrival) => arrival.vm === vm && arrival.id !== migrationId);
      hold(vm, migrationId);
      if (!sessions.has(migrationId)) sessions.set(migrationId, deps.sessions.keep(session));
      try {
        await db.saved();
        await table.putArrival({ id: migrationId, vm, host });
        const { records: _ours, ...forHost } = metadata;
        const reply = await members.service(host).receive({ migrationId, metadata: forHost });
        for (const { id } of older) {
          await table.remove(id);
          release(vm, id);
        }
        return encodeReply({ ...reply, vm });
      } catch (error) {
        if (known === undefined) await refused(migrationId, vm);
        throw error;
      }
    },
    resume() {
      for (const { id, vm } of table.arrivals()) if (db.find('VM', vm) !== undefined) hold(vm, id);
    },
    async catchUp(host) {
      const open = table
        .arrivals()
        .filter((arrival) => arrival.host === host && db.find('VM', arrival.vm) !== undefined);
      if (open.length === 0) return;
      const { domains, arriving } = await members.state(host);
      for (const { id, vm } of open) {
        const { uuid } = db.get('VM', vm);
        const domain = domains.find((each) => each.uuid === uuid);
        // One that does not run may be about to, or have come to be so.
        const isHere = domain?.state === 'running' || (domain !== undefined && arriving?.includes(uuid) === false);
        if (!isHere) continue;
        await members.settle(vm, host);
        await taken(id, vm);
      }
    },
    async event(event) {
      if (event.kind !== 'receive-ended') return;
      const arrival = table.arrival(event.migrationId);
      if (arrival === undefined) return;
      if (!event.taken) {
        deps.log.info(`migration ${arrival.id} has not taken: the VM's record goes`);
        await refused(arrival.id, arrival.vm);
        return;
      }
      if (db.find('VM', arrival.vm) !== undefined) await members.settle(arrival.vm, arrival.host);
      await taken(arrival.id, arrival.vm);
    },
    arrived(vm) {
      const arrival = table.arrivals().find((each) => each.vm === vm);
      if (arrival === undefined) return;
      taken(arrival.id, vm).catch((error: unknown) =>
        deps.log.error(`migration ${arrival.id} is not forgotten`, { error }),
      );
    },
  };
}

function assertMayReceive({ db }: VmReceiveDeps, host: Ref<'host'>): void {
  if (!db.get('host', host).enabled) throw new XapiError('HOST_DISABLED', [host]);
  if (!isLive(db, host)) throw new XapiError('HOST_OFFLINE', [host]);
}

/** @throws where the records or networks are none that this pool can take */
function recordMaker({ db }: VmReceiveDeps, metadata: VmMetadata): () => Ref<'VM'> {
  const records = checkRecords(metadata.records);
  const networks = new Map(metadata.vifs.map((vif) => [vif.uuid, vif.network as Ref<'network'>]));
  for (const network of networks.values()) db.get('network', network);
  assertMacSeedIsFree(db, records.vm.other_config[macSeedKey]);
  return () => importVm(db, metadata.domain.uuid, records, networks);
}
