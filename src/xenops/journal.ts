/**
 * The journal of migrations: what each side has durably decided, a row for each side and migration. A row is written before the effect
 * that the row announces; after a crash the rows say what to complete, undo or settle (see migrate/protocol for the states).
 */
import { defined } from '../base/defined.js';
import type { DomainHandle } from '../base/domain.js';
import type { Store } from '../base/store/store.js';

/** A source's attempt to send a VM. */
export interface SourceRow<State extends string = string> {
  readonly side: 'source';
  readonly migrationId: string;
  readonly task: string;
  readonly uuid: string;
  readonly state: State;
  /** The VM's domain; absent where the VM does not run. */
  readonly handle?: DomainHandle;
  /** The name of the VM's suspend image, where the VM is suspended. */
  readonly image?: string;
  /** Whether the VM ran, and so is to run again when the attempt fails. */
  readonly wasRunning: boolean;
  /** The request, which says where the destination is reached. */
  readonly request: unknown;
  /** VM.receive's agreement: where the attempt is settled, and the token that authenticates `settle`. */
  readonly agreed?: {
    readonly migrationId: string;
    readonly xenopsUrl: string;
    readonly direct?: string | undefined;
    readonly token: string;
  };
  /** The report of the migration, as far as it is known at the commit point. */
  readonly report?: unknown;
  /** How the attempt ended, for a coordinator that asks later. */
  readonly outcome?: unknown;
  /** Set where the state is `failed` after `going`, and the VM is still to be resumed here. Stored as `owed`. */
  readonly resumePending?: true | undefined;
  /** Set once the old copy is gone and the destination has been told: nothing is left to do. Stored as `tied`. */
  readonly acknowledged?: true | undefined;
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
  /**
   * Set once source and coordinator know the outcome, for a VM that does not run: nothing but the row says what became of such
   * a VM.
   */
  readonly acknowledged?: true;
  readonly noted?: true;
}

export type JournalRow = SourceRow | DestinationRow;

export interface Journal {
  get<S extends JournalRow['side']>(side: S, migrationId: string): Extract<JournalRow, { side: S }> | undefined;
  /** Resolves when the row is durable against a crash of the daemon; with `powerLoss`, of the machine as well. */
  put(row: JournalRow, against?: 'powerLoss'): Promise<void>;
  remove(side: JournalRow['side'], migrationId: string): Promise<void>;
  rows(): JournalRow[];
  /** Remove the rows among these that were written `age` milliseconds ago or earlier. */
  removeOld(rows: readonly JournalRow[], age: number): Promise<void>;
}

/** A row with the time, in milliseconds since 1970, at which it was written; rows of earlier versions have none. */
type Dated = JournalRow & { readonly at?: number };

/** A row as the store has it: two fields of a source's row keep the names that earlier versions write and read. */
type Stored = Omit<Dated, 'resumePending' | 'acknowledged'> & {
  readonly owed?: true | undefined;
  readonly tied?: true | undefined;
};

function toStored(row: Dated): Stored {
  if (row.side !== 'source') return row;
  const { resumePending, acknowledged, ...same } = row;
  return { ...same, ...defined({ owed: resumePending, tied: acknowledged }) };
}

function fromStored({ owed, tied, ...same }: Stored): Dated {
  return { ...same, ...defined({ resumePending: owed, acknowledged: tied }) } as Dated;
}

/** A row as it is in memory, and when it was written, on the clock that nobody steps: before this start where below its time. */
interface Kept {
  readonly row: JournalRow;
  readonly since: number | undefined;
}

/** The clocks by which ages are counted, in milliseconds. */
interface JournalClocks {
  /** The time since 1970, by which a row's age is known across a restart. Setting this clock during a run has no effect. */
  readonly wall: () => number;
  readonly elapsed: () => number;
}

const systemClocks: JournalClocks = { wall: () => Date.now(), elapsed: () => performance.now() };

function kept({ at, ...row }: Dated, since: number | undefined): Kept {
  return { row: row as JournalRow, since };
}

/**
 * The journal kept in a table of the host's store. Its rows are in memory as well: each operation on a VM and each look at the
 * host asks for all of them, and there is one for every VM that ever left.
 */
export function openJournal(store: Store, { wall, elapsed } = systemClocks): Journal {
  const table = store.table<Stored>('migration-journal');
  const rows = new Map<string, Kept>();
  for (const [id, stored] of table.entries()) {
    const row = fromStored(stored);
    const age = row.at === undefined ? undefined : Math.max(0, wall() - row.at);
    rows.set(id, kept(row, age === undefined ? undefined : elapsed() - age));
  }
  const key = (side: JournalRow['side'], migrationId: string) => `${side}/${migrationId}`;
  return {
    get<S extends JournalRow['side']>(side: S, migrationId: string) {
      return rows.get(key(side, migrationId))?.row as Extract<JournalRow, { side: S }> | undefined;
    },
    async put(row, against) {
      const id = key(row.side, row.migrationId);
      const dated = { ...row, at: wall() };
      await table.put(id, toStored(dated));
      rows.set(id, kept(dated, elapsed()));
      if (against === 'powerLoss') await store.flushed();
    },
    async remove(side, migrationId) {
      await table.remove(key(side, migrationId));
      rows.delete(key(side, migrationId));
    },
    rows: () => [...rows.values()].map(({ row }) => row),
    async removeOld(named, age) {
      const old = named.flatMap(({ side, migrationId }): { id: string; row: Dated | undefined }[] => {
        const id = key(side, migrationId);
        const { row, since } = rows.get(id) ?? {};
        if (row === undefined) return [];
        // A row without a time counts as written at this start.
        if (since === undefined) return [{ id, row: { ...row, at: wall() } }];
        return elapsed() - since >= age ? [{ id, row: undefined }] : [];
      });
      await store.putMany(old.map(({ id, row }) => table.change(id, row && toStored(row))));
      for (const { id, row } of old) {
        if (row === undefined) rows.delete(id);
        else rows.set(id, kept(row, elapsed()));
      }
    },
  };
}
