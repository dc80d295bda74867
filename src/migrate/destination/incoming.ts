/** The state that migrations to this host share: which attempts are open, whose turn it is, what is still to be done. */
import { XapiError } from '../../base/errors.js';
import { persist } from '../../base/retry.js';
import { sameSecret } from '../../base/secret.js';
import type { DestinationRow } from '../../xenops/journal.js';
import type { Queue } from '../../xenops/queue.js';
import type { Peers } from '../peers.js';
import { type DestinationState, type Fate, hasTaken, type Settlement } from '../protocol.js';
import type { Admission } from './admission.js';
import type { AttemptDeps } from './attempt.js';
import type { OpenAttempt } from './phases.js';
import { type DestinationRecovery, recoverDestination } from './recovery.js';
import { refuseRow } from './refusal.js';

export interface DestinationDeps extends AttemptDeps {
  readonly queue: Queue;
  /** How many VMs may be arriving at once. */
  readonly limit: () => number;
  /** How the source of an attempt is asked whether what was taken may run. */
  readonly peers: Pick<Peers, 'at'>;
  /** The URL below which the channels are. */
  readonly xenopsUrl: () => string;
  /** Called when an attempt is over. @param taken whether the VM is here; if not, it never comes */
  readonly onEnded: (migrationId: string, taken: boolean) => void;
  /** What VM.receive's reply announces; where `formats` is absent, those that the back end reads. */
  readonly announce: { readonly formats?: readonly string[]; readonly restoredAck: boolean };
}

/** The attempts of one run of the daemon; each map is by migration_id. */
export interface Incoming {
  readonly deps: DestinationDeps;
  readonly attempts: Map<string, OpenAttempt>;
  readonly admission: Admission;
  /** Work in the background for attempts that are over. */
  readonly recovering: Map<string, Promise<void>>;
  readonly recovery: DestinationRecovery;
  /** Aborted when the daemon stops. */
  readonly closing: AbortController;
}

type Row = DestinationRow<DestinationState>;

/** The journal row of an attempt; undefined before it has begun, and once it is forgotten. */
export function rowOf({ deps }: Incoming, migrationId: string): Row | undefined {
  return deps.journal.get('destination', migrationId) as Row | undefined;
}

/** The row of an attempt, for a caller with its token. @throws SESSION_INVALID [migration_id] for another token */
export function authenticated(incoming: Incoming, migrationId: string, token: string): Row | undefined {
  const row = rowOf(incoming, migrationId);
  if (row !== undefined && !sameSecret(row.token, token)) {
    throw new XapiError('SESSION_INVALID', [migrationId], 'that is not the token of the migration');
  }
  return row;
}

/** Do in the background what an attempt has left to do, until nothing is left. */
export function recoverLater({ recovering, recovery, closing }: Incoming, migrationId: string): void {
  if (recovering.has(migrationId)) return;
  const work = persist(() => recoverDestination(recovery, migrationId), closing.signal);
  recovering.set(
    migrationId,
    work.finally(() => recovering.delete(migrationId)),
  );
}

/**
 * Record which of point 3 and a refusal came first, and answer it. The caller holds the lane.
 *
 * @param reason
 * why it is refused, for the source and the log
 * @throws
 * where a refusal cannot be made durable: that is no answer
 */
export async function settleRow(incoming: Incoming, row: Row, reason: string): Promise<Settlement> {
  const { deps, attempts } = incoming;
  const settled = await attempts.get(row.migrationId)?.settle(reason);
  const now = rowOf(incoming, row.migrationId) ?? row;
  if (settled === 'taken' || hasTaken(now.state)) return 'taken';
  if (now.state !== 'refused') await refuseRow(deps, now, () => deps.onEnded(now.migrationId, false));
  return 'refused';
}

/** What became of an attempt; `unknown` where there is no row of it. */
export function fateOf(incoming: Incoming, migrationId: string): Fate {
  const state = rowOf(incoming, migrationId)?.state;
  if (state === undefined) return 'unknown';
  return state === 'done' || state === 'refused' ? state : 'open';
}

/** The error of a call that needs the end of another migration of the VM first. */
export function stillMigrating(uuid: string, migrationId: string): XapiError {
  return new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', uuid, 'migrate_send', migrationId]);
}
