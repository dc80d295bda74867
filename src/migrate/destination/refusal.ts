/** How a destination refuses an attempt, and leaves nothing of it behind. */
import type { Backend } from '../../backend/backend.js';
import type { DestinationRow, Journal } from '../../xenops/journal.js';
import type { Suspended } from '../../xenops/suspended.js';
import type { DestinationState } from '../protocol.js';
import { restOf } from './rows.js';

export interface RefusalDeps {
  readonly backend: Backend;
  readonly journal: Journal;
  readonly suspended: Pick<Suspended, 'drop'>;
}

type Row = DestinationRow<DestinationState>;

/**
 * Refuse for good, then leave nothing behind: the domain, unless it ever ran, and the memory that was promised.
 * @param refused called when the refusal is durable
 */
export async function refuseRow(deps: RefusalDeps, row: Row, refused: () => void = () => undefined): Promise<void> {
  await deps.journal.put({ ...row, state: 'refused' });
  refused();
  await cleanUp(deps, row);
}

/**
 * Leave nothing of a refused attempt behind: again, where that failed before. A domain that was made but not journaled has the
 * attempt's temporary uuid, which was free when the attempt began, and is its own until another attempt is open.
 */
export async function cleanUp({ backend, journal, suspended }: RefusalDeps, row: Row): Promise<void> {
  if (restOf(row) === 'suspended') await suspended.drop(row.uuid, row.migrationId);
  const later = journal
    .rows()
    .some((each) => each.side === 'destination' && each.uuid === row.uuid && isOpen(each as Row));
  const unnamed = row.handle === undefined && !later ? await backend.list() : [];
  const handle = row.handle ?? unnamed.find(({ uuid }) => uuid === row.temporaryUuid)?.handle;
  if (handle !== undefined) await backend.destroyUnlessRan(handle);
  await backend.release(row.migrationId);
}

function isOpen({ state }: Row): boolean {
  return state !== 'refused' && state !== 'done';
}
