/**
 * The migrations that come to this host, as their sources, the coordinator and an operator ask for them. How an attempt begins is in
 * receive.ts, what an attempt does, phase by phase, in phases.ts.
 *
 * VM.receive and settle run in a lane for the VM, in a queue apart from the host's other operations, so that two hosts that send
 * to each other never wait for one another. An attempt decides once, and durably: it has taken point 3, or it has refused.
 */

import { type DomainHandle, sameDomain } from '../../base/domain.js';
import { XapiError } from '../../base/errors.js';
import type { DestinationRow } from '../../xenops/journal.js';
import { checkMigrationId, type ReceiveReply, type ReceiveRequest } from '../metadata.js';
import { type DestinationState, type Fate, hasTaken, type RunsWhere, type Settlement } from '../protocol.js';
import { createAdmission } from './admission.js';
import {
  authenticated,
  type DestinationDeps,
  fateOf,
  type Incoming,
  recoverLater,
  rowOf,
  settleRow,
  stillMigrating,
} from './incoming.js';
import { assertOwn, receive } from './receive.js';
import { decideTaken, endUntaken } from './recovery.js';
import { cleanUp } from './refusal.js';
import { destinationRows, isOver, restOf, unheardOf } from './rows.js';

type Row = DestinationRow<DestinationState>;

export interface MigrationDestination {
  /**
   * Assert that VM.receive would begin, for a caller that prepares something first.
   * @throws TOO_BUSY until it is the migration's turn, which is kept for some seconds
   */
  assertTurn(migrationId: string, uuid: string): Promise<void>;
  /**
   * VM.receive. Idempotent by migration_id.
   * @throws INVALID_VALUE [migration_id, id] where that is of another VM, TOO_BUSY until it is the migration's turn,
   *   HOST_NOT_ENOUGH_FREE_MEMORY, OTHER_OPERATION_IN_PROGRESS, ...
   */
  receive(request: ReceiveRequest): Promise<ReceiveReply>;
  /** Record which of {point 3, settle} came first, and answer with it. @throws SESSION_INVALID for a wrong token */
  settle(migrationId: string, token: string): Promise<Settlement>;
  /**
   * Forget the outcome, which the source knows now.
   * @throws OTHER_OPERATION_IN_PROGRESS while the VM that was taken does not run
   */
  acknowledge(migrationId: string, token: string): Promise<void>;
  /** Whether an attempt waits for its channels. @throws SESSION_INVALID for a wrong token */
  expects(migrationId: string, token: string): Promise<boolean>;
  /** The digest of the memory that arrived, once all of it was hashed. */
  digest(migrationId: string, token: string): Promise<string>;
  /** What became of an attempt; one that is forgotten, or was never heard of, is `unknown`. */
  received(migrationId: string): Fate;
  /**
   * What became of an attempt, as `received` says; an attempt that is not known is refused from then on.
   * @param uuid of its VM
   */
  refuseUnknown(migrationId: string, uuid: string): Promise<Fate>;
  /** Forget an attempt as far as the coordinator goes, which knows what became of it now. */
  noted(migrationId: string): Promise<void>;
  /** The uuids of the VMs that may yet run here: of attempts that are neither refused nor done. */
  arriving(): string[];
  /** The uuid of the VM whose copy a domain is, where it was taken and does not run yet. */
  vmOf(handle: DomainHandle): string | undefined;
  /** End the doubt about a VM by an operator's word. @returns whether a copy of it that was taken was in doubt here */
  forceSettlement(uuid: string, runs: RunsWhere): Promise<boolean>;
  /**
   * End what an earlier run of the daemon left behind; once, at the start. Work that needs other hosts goes on in the
   * background.
   */
  recover(): Promise<void>;
  /** Refuse what has not been taken, and close. */
  close(): Promise<void>;
}

/** How long a refusal is remembered that no source can ask for. */
const rememberedMs = 7 * 24 * 3600 * 1000;

/** Everything that this version accepts and can do. */
export const fullAnnouncement = { restoredAck: true } as const;

/** Make the destination side of a host. */
export function createDestination(deps: DestinationDeps): MigrationDestination {
  const { journal } = deps;
  const inLane = <T>(uuid: string, work: () => Promise<T>) => deps.queue.run(`receive ${uuid}`, work);
  const incoming: Incoming = {
    deps,
    attempts: new Map(),
    admission: createAdmission(deps.limit),
    recovering: new Map(),
    recovery: { deps, peers: deps.peers, inLane, onEnded: deps.onEnded },
    closing: new AbortController(),
  };
  return {
    assertTurn: async (migrationId, uuid) => assertTurn(incoming, migrationId, uuid),
    async receive({ migrationId, metadata }) {
      checkMigrationId(migrationId);
      const domain = deps.backend.checkSpec(metadata.domain);
      return inLane(domain.uuid, () => receive(incoming, { migrationId, metadata: { ...metadata, domain } }));
    },
    settle: (migrationId, token) => settle(incoming, migrationId, token),
    acknowledge: (migrationId, token) => acknowledge(incoming, migrationId, token),
    expects: async (migrationId, token) => authenticated(incoming, migrationId, token)?.state === 'reserved',
    digest: (migrationId, token) => digest(incoming, migrationId, token),
    received: (migrationId) => fateOf(incoming, migrationId),
    refuseUnknown: (migrationId, uuid) => refuseUnknown(incoming, migrationId, uuid),
    async noted(migrationId) {
      const row = rowOf(incoming, migrationId);
      if (row !== undefined && restOf(row) !== undefined && isOver(row))
        await forgetKnown(incoming, { ...row, noted: true });
    },
    arriving: () => destinationRows(journal).flatMap((row) => (isOver(row) ? [] : [row.uuid])),
    vmOf(handle) {
      const row = destinationRows(journal).find((each) => each.handle && sameDomain(each.handle, handle));
      return row !== undefined && hasTaken(row.state) ? row.uuid : undefined;
    },
    forceSettlement: (uuid, runs) => forceSettlement(incoming, uuid, runs),
    recover: () => recover(incoming),
    close: () => close(incoming),
  };
}

function assertTurn(incoming: Incoming, migrationId: string, uuid: string): void {
  checkMigrationId(migrationId);
  assertOwn(incoming, migrationId, uuid);
  if (rowOf(incoming, migrationId) !== undefined || incoming.admission.isTurn(migrationId, uuid)) return;
  throw new XapiError('TOO_BUSY', []);
}

async function settle(incoming: Incoming, migrationId: string, token: string): Promise<Settlement> {
  const row = authenticated(incoming, migrationId, token);
  if (row === undefined) return 'unknown';
  return incoming.recovery.inLane(row.uuid, () =>
    settleRow(incoming, rowOf(incoming, migrationId) ?? row, 'the source has settled the migration'),
  );
}

async function acknowledge(incoming: Incoming, migrationId: string, token: string): Promise<void> {
  const { deps, attempts } = incoming;
  if (authenticated(incoming, migrationId, token) === undefined) return;
  // Point 4 is sent a moment before `done` is journaled.
  if (hasTaken(rowOf(incoming, migrationId)?.state ?? 'refused')) await attempts.get(migrationId)?.ended;
  const row = rowOf(incoming, migrationId);
  if (row?.state === 'refused') await cleanUp(deps, row);
  if (row !== undefined && restOf(row) !== undefined && isOver(row)) {
    return forgetKnown(incoming, { ...row, acknowledged: true });
  }
  if (row !== undefined && isOver(row)) await deps.journal.remove('destination', migrationId);
  else if (row !== undefined && hasTaken(row.state)) {
    throw stillMigrating(row.uuid, migrationId);
  }
}

/** Forget the row of a VM that does not run once source and coordinator know the outcome, which nothing else tells. */
async function forgetKnown({ deps: { journal } }: Incoming, row: Row): Promise<void> {
  if (row.acknowledged && row.noted) await journal.remove('destination', row.migrationId);
  else await journal.put(row);
}

async function digest(incoming: Incoming, migrationId: string, token: string): Promise<string> {
  const row = authenticated(incoming, migrationId, token);
  if (row?.handle !== undefined) return incoming.deps.backend.digest(row.handle);
  throw new XapiError('INTERNAL_ERROR', [`migration ${migrationId} has no domain here`]);
}

async function refuseUnknown(incoming: Incoming, migrationId: string, uuid: string): Promise<Fate> {
  checkMigrationId(migrationId);
  return incoming.recovery.inLane(uuid, async () => {
    const isKnown = rowOf(incoming, migrationId) !== undefined;
    if (!isKnown) await incoming.deps.journal.put(unheardOf(migrationId, uuid), 'powerLoss');
    return fateOf(incoming, migrationId);
  });
}

async function forceSettlement(incoming: Incoming, uuid: string, runs: RunsWhere): Promise<boolean> {
  const { deps, attempts, recovery } = incoming;
  if (runs === 'elsewhere') await refuseUntaken(incoming, uuid);
  const taken = destinationRows(deps.journal).find(
    (row) => row.uuid === uuid && row.state !== 'done' && hasTaken(row.state),
  );
  if (taken === undefined) return false;
  const { migrationId, handle } = taken;
  if (attempts.has(migrationId)) throw stillMigrating(uuid, migrationId);
  await recovery.inLane(uuid, async () => {
    const domains = await deps.backend.list();
    const copy = domains.find((domain) => handle !== undefined && sameDomain(domain.handle, handle));
    if (runs === 'here' && copy?.inDoubt !== undefined) await deps.backend.markInDoubt(copy.handle, undefined);
    await decideTaken(recovery, migrationId, runs === 'here' ? 'taken' : 'refused');
  });
  return true;
}

/** Refuse the attempts for a VM that have not taken it. @throws OTHER_OPERATION_IN_PROGRESS where the VM is just being taken */
async function refuseUntaken(incoming: Incoming, uuid: string): Promise<void> {
  const { deps, recovery } = incoming;
  for (const { migrationId, state } of destinationRows(deps.journal).filter((row) => row.uuid === uuid)) {
    if (state === 'refused' || hasTaken(state)) continue;
    const settlement = await recovery.inLane(uuid, async () => {
      const row = rowOf(incoming, migrationId);
      return row === undefined ? 'refused' : settleRow(incoming, row, 'an operator has settled it');
    });
    if (settlement === 'taken') throw stillMigrating(uuid, migrationId);
  }
}

async function recover(incoming: Incoming): Promise<void> {
  const { deps, recovery } = incoming;
  for (const { migrationId, state } of destinationRows(deps.journal)) {
    if (state === 'done') deps.onEnded(migrationId, true);
    if (state === 'refused') deps.onEnded(migrationId, false);
    if (!hasTaken(state)) {
      await endUntaken(recovery, migrationId).catch((error: unknown) =>
        deps.log.error('a migration could not be ended yet', { migration: migrationId, error }),
      );
    }
    recoverLater(incoming, migrationId);
  }
  await forgetOld(incoming);
}

/** Forget old refusals from before point 1, which no source can ask for any more. */
async function forgetOld({ deps }: Incoming): Promise<void> {
  const old = destinationRows(deps.journal).filter(({ state, handle }) => state === 'refused' && handle === undefined);
  await deps.journal.removeOld(old, rememberedMs).catch((error: unknown) => {
    deps.log.warn('old migrations are not forgotten yet', { error });
  });
}

async function close({ attempts, recovering, closing }: Incoming): Promise<void> {
  closing.abort(new XapiError('INTERNAL_ERROR', ['the daemon of the destination stops']));
  await Promise.all([...attempts.values()].map((attempt) => attempt.settle('the daemon of the destination stops')));
  await Promise.all([...attempts.values()].map((attempt) => attempt.ended));
  await Promise.all(recovering.values());
}
