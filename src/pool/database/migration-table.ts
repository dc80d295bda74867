/**
 * The migrations that the coordinator has asked for or prepared, durable until their end is known and in the records. A row is
 * there before the host is asked, so that a coordinator that starts anew finds every migration that it may have begun.
 */
import type { Ref } from '../../../idl/index.js';
import type { Table } from '../../base/store/store.js';
import type { MigrateRequest } from '../../host/service/service.js';
import type { Rest } from '../../migrate/metadata.js';

/** A migration that leaves a host of this pool. */
export interface Departure {
  readonly id: string;
  readonly vm: Ref<'VM'>;
  readonly source: Ref<'host'>;
  /** Absent where the VM goes to another pool. */
  readonly destination?: Ref<'host'>;
  readonly operation: 'pool_migrate' | 'migrate_send';
  readonly task: Ref<'task'>;
  /** The task's name. */
  readonly label: string;
  readonly request: MigrateRequest;
  /** The source has the request. */
  readonly accepted: boolean;
  /** The call has ended without an outcome. */
  readonly inDoubt: boolean;
  /** The task was cancelled while nobody knew whether the source has the request. */
  readonly cancelled?: true;
}

/** A migration that comes from another pool; the VM's record was made for it. */
export interface Arrival {
  readonly id: string;
  readonly vm: Ref<'VM'>;
  readonly host: Ref<'host'>;
  /** How the VM is, where it does not run. */
  readonly rest?: Rest;
  /** The host has answered: the source may have what it needs to send the VM. */
  readonly answered?: true;
}

/** The hosts of this pool between which a VM migrates; absent where that is a host of another. */
export interface Route {
  readonly source?: Ref<'host'>;
  readonly destination?: Ref<'host'>;
}

export interface MigrationTable {
  departures(): Departure[];
  arrivals(): Arrival[];
  departure(id: string): Departure | undefined;
  arrival(id: string): Arrival | undefined;
  putDeparture(row: Departure): Promise<void>;
  putArrival(row: Arrival): Promise<void>;
  /** Forget a departure; fine where there is none. An arrival may have the same id. */
  remove(id: string): Promise<void>;
  /** Forget an arrival; fine where there is none. */
  removeArrival(id: string): Promise<void>;
  /** Where a VM that migrates may be; undefined where it does not. */
  routeOf(vm: Ref<'VM'>): Route | undefined;
  /** Forget a departure for this run of the daemon: the next finds it again. */
  forget(id: string): void;
}

/** The migrations of two tables of the store, with what an earlier run has left in them. */
export function createMigrationTable(departureRows: Table<Departure>, arrivalRows: Table<Arrival>): MigrationTable {
  const departures = new Map<string, Departure>(departureRows.entries());
  const arrivals = new Map<string, Arrival>(arrivalRows.entries());

  return {
    departures: () => [...departures.values()],
    arrivals: () => [...arrivals.values()],
    departure: (id) => departures.get(id),
    arrival: (id) => arrivals.get(id),
    putDeparture(row) {
      departures.set(row.id, row);
      return departureRows.put(row.id, row);
    },
    putArrival(row) {
      arrivals.set(row.id, row);
      return arrivalRows.put(row.id, row);
    },
    async remove(id) {
      if (departures.delete(id)) await departureRows.remove(id);
    },
    async removeArrival(id) {
      if (arrivals.delete(id)) await arrivalRows.remove(id);
    },
    forget(id) {
      departures.delete(id);
    },
    routeOf(vm) {
      for (const row of departures.values()) if (row.vm === vm) return row;
      for (const row of arrivals.values()) if (row.vm === vm) return { destination: row.host };
      return undefined;
    },
  };
}
