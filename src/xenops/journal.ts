/**
 * What each side of a migration has durably decided, a row for each side and migration. A row is written before the effect that
 * it speaks of; after a crash the rows say what to complete, undo or settle (see migrate/protocol for the states).
 */
import type { DomainHandle } from '../base/hypervisor-protocol.js';
import type { Store } from '../base/store.js';

/** A source's attempt to send a VM. */
export interface SourceRow<State extends string = string> {
  readonly side: 'source';
  readonly migrationId: string;
  readonly task: string;
  readonly uuid: string;
  readonly state: State;
  readonly handle: DomainHandle;
  /** Whether it ran, and so is to run again when the attempt fails. */
  readonly wasRunning: boolean;
  /** What was asked: where the destination is reached. */
  readonly request: unknown;
  /** What VM.receive agreed on: where the attempt is settled, and what authenticates that. */
  readonly agreed?: { readonly migrationId: string; readonly xenopsUrl: string; readonly token: string };
  /** What it did, as far as it is known at the commit point. */
  readonly report?: unknown;
  /** How it ended, for a coordinator that asks later. */
  readonly outcome?: unknown;
  /** `failed` after `going`, and the VM does not go on here yet: that is still to be done. */
  readonly owed?: true | undefined;
  /** The old copy is gone and the destination has been told: nothing is left to do. */
  readonly tied?: true | undefined;
}

/** A destination's attempt to take a VM. */
export interface DestinationRow<State extends string = string> {
  readonly side: 'destination';
  readonly migrationId: string;
  readonly uuid: string;
  readonly temporaryUuid: string;
  readonly state: State;
  readonly token: string;
  readonly handle?: DomainHandle;
  /** VM.receive's parameters and reply, so that the same id gives the same reply. */
  readonly request: unknown;
  readonly reply: unknown;
}

export type JournalRow = SourceRow | DestinationRow;

export interface Journal {
  get<S extends JournalRow['side']>(side: S, migrationId: string): Extract<JournalRow, { side: S }> | undefined;
  /** Resolves when the row is durable against a crash of the daemon; with `powerLoss`, of the machine as well. */
  put(row: JournalRow, against?: 'powerLoss'): Promise<void>;
  remove(side: JournalRow['side'], migrationId: string): Promise<void>;
  rows(): JournalRow[];
  /** Remove those of the named rows that were written so many milliseconds ago or longer. */
  removeOld(rows: readonly JournalRow[], age: number): Promise<void>;
}

/** A row with the time, in milliseconds since 1970, at which it was written; rows of earlier versions have none. */
type Dated = JournalRow & { readonly at?: number };

function undated({ at: _at, ...row }: Dated): JournalRow {
  return row as JournalRow;
}

/** The journal kept in a table of the host's store. */
export function openJournal(store: Store, now: () => number = Date.now): Journal {
  const table = store.table<Dated>('migration-journal');
  const key = (side: JournalRow['side'], migrationId: string) => `${side}/${migrationId}`;
  return {
    get<S extends JournalRow['side']>(side: S, migrationId: string) {
      const row = table.get(key(side, migrationId));
      return row && (undated(row) as Extract<JournalRow, { side: S }>);
    },
    async put(row, against) {
      await table.put(key(row.side, row.migrationId), { ...row, at: now() });
      if (against === 'powerLoss') await store.flushed();
    },
    remove: (side, migrationId) => table.remove(key(side, migrationId)),
    rows: () => [...table.entries()].map(([, row]) => undated(row)),
    async removeOld(rows, age) {
      const changes = rows.flatMap(({ side, migrationId }) => {
        const id = key(side, migrationId);
        const row = table.get(id);
        if (row === undefined) return [];
        // One without a time is as old as this start.
        if (row.at === undefined) return [table.change(id, { ...row, at: now() })];
        return now() - row.at >= age ? [table.change(id, undefined)] : [];
      });
      await store.putMany(changes);
    },
  };
}
