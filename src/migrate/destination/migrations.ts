/**
 * The destination of migrations: VM.receive and the attempts that it starts. What one attempt does, phase by phase, is in
 * phases.ts.
 *
 * VM.receive and settle run in a lane for the VM, in a queue apart from the host's other operations, so that two hosts that send
 * to each other never wait for one another. An attempt decides once, and durably: it has taken point 3, or it has refused.
 */
import { invalidValue, XapiError } from '../../base/errors.js';
import { type DomainHandle, sameDomain } from '../../base/protocol/hypervisor-protocol.js';
import { persist } from '../../base/retry.js';
import { sameSecret } from '../../base/secret.js';
import type { DestinationRow } from '../../xenops/journal.js';
import type { Queue } from '../../xenops/queue.js';
import { checkMigrationId, type ReceiveReply, type ReceiveRequest } from '../metadata.js';
import type { Peers } from '../peers.js';
import {
  acceptedFormats,
  type DestinationState,
  type Fate,
  hasTaken,
  type RunsWhere,
  type Settlement,
} from '../protocol.js';
import { createAdmission } from './admission.js';
import type { AttemptDeps } from './attempt.js';
import { type OpenAttempt, openAttempt } from './phases.js';
import { type DestinationRecovery, decideTaken, endUntaken, recoverDestination } from './recovery.js';
import { cleanUp, refuseRow } from './refusal.js';
import { assertFree, destinationRows, isOver, repeated, reservedRow, restOf, unheardOf } from './rows.js';

export interface DestinationDeps extends AttemptDeps {
  readonly queue: Queue;
  /** How many VMs may be arriving at once. */
  readonly limit: () => number;
  /** How the source of an attempt is asked whether what was taken may run. */
  readonly peers: Pick<Peers, 'at'>;
  /** The URL below which the channels are. */
  readonly xenopsUrl: () => string;
  /** An attempt is over: the VM is here, or it will never be. */
  readonly onEnded: (migrationId: string, taken: boolean) => void;
  /** What VM.receive's reply announces; nothing, as from a destination that knows only plain streams and the pipe. */
  readonly announce: { readonly formats: readonly string[]; readonly restoredAck: boolean };
}

export interface MigrationDestination {
  /** For who prepares something before VM.receive. @throws TOO_BUSY until it is the migration's turn, which is kept for some seconds */
  assertTurn(migrationId: string, uuid: string): Promise<void>;
  /** VM.receive. Idempotent by migration_id. @throws INVALID_VALUE [migration_id, id] where that is of another VM, TOO_BUSY until it is the migration's turn, HOST_NOT_ENOUGH_FREE_MEMORY, OTHER_OPERATION_IN_PROGRESS, ... */
  receive(request: ReceiveRequest): Promise<ReceiveReply>;
  /** Record which of {point 3, settle} came first, and say it. @throws SESSION_INVALID for a wrong token */
  settle(migrationId: string, token: string): Promise<Settlement>;
  /** The source knows the outcome: it may be forgotten. @throws OTHER_OPERATION_IN_PROGRESS while what was taken does not run */
  acknowledge(migrationId: string, token: string): Promise<void>;
  /** Whether an attempt waits for its channels. @throws SESSION_INVALID for a wrong token */
  expects(migrationId: string, token: string): Promise<boolean>;
  /** The digest of what arrived, once it is complete. */
  digest(migrationId: string, token: string): Promise<string>;
  /** What became of an attempt; one that is forgotten, or was never heard of, is `unknown`. */
  received(migrationId: string): Fate;
  /** The same; one that is forgotten, or was never heard of, is refused from then on. @param uuid of its VM */
  refuseUnknown(migrationId: string, uuid: string): Promise<Fate>;
  /** The coordinator knows what became of it. */
  noted(migrationId: string): Promise<void>;
  /** The uuids of the VMs that may yet run here: of attempts that are neither refused nor done. */
  arriving(): string[];
  /** The uuid of the VM whose copy a domain is, where it was taken and does not run yet. */
  vmOf(handle: DomainHandle): string | undefined;
  /** End the doubt about a VM by an operator's word. @returns whether a copy of it that was taken was in doubt here */
  forceSettlement(uuid: string, runs: RunsWhere): Promise<boolean>;
  /** Once, at the start: end what an earlier run of the daemon left behind. What needs others goes on in the background. */
  recover(): Promise<void>;
  /** Refuse what has not been taken, and close. */
  close(): Promise<void>;
}

/** How long a refusal is remembered for which no source can ask. */
const rememberedMs = 7 * 24 * 3600 * 1000;

/** Everything that this version accepts and can do. */
export const fullAnnouncement = { formats: acceptedFormats, restoredAck: true } as const;

/** Make the destination side of a host. */
export function createDestination(deps: DestinationDeps): MigrationDestination {
  const attempts = new Map<string, OpenAttempt>();
  const admission = createAdmission(deps.limit);
  const closing = new AbortController();
  const inLane = <T>(uuid: string, work: () => Promise<T>) => deps.queue.run(`receive ${uuid}`, work);
  const recovering = new Map<string, Promise<void>>();
  const recovery: DestinationRecovery = { deps, peers: deps.peers, inLane, onEnded: deps.onEnded };
  /** Do in the background what an attempt has left to do. */
  const recoverLater = (id: string): void => {
    if (recovering.has(id)) return;
    const work = persist(() => recoverDestination(recovery, id), closing.signal);
    recovering.set(
      id,
      work.finally(() => recovering.delete(id)),
    );
  };
  const rowOf = (id: string) => deps.journal.get('destination', id) as DestinationRow<DestinationState> | undefined;
  const authenticated = (id: string, token: string): DestinationRow<DestinationState> | undefined => {
    const row = rowOf(id);
    if (row !== undefined && !sameSecret(row.token, token)) {
      throw new XapiError('SESSION_INVALID', [id], 'that is not the token of the migration');
    }
    return row;
  };

  /** An id that has begun for a VM is of no other. @throws INVALID_VALUE, OPERATION_NOT_ALLOWED where it has ended */
  function assertOwn(id: string, uuid: string): void {
    const row = rowOf(id);
    const vm = row?.uuid ?? admission.vmOf(id) ?? uuid;
    if (vm !== uuid) throw invalidValue('migration_id', id, 'one that no other VM has');
    if (row !== undefined) repeated(row);
  }

  async function receive(request: ReceiveRequest): Promise<ReceiveReply> {
    assertOwn(request.migrationId, request.metadata.domain.uuid);
    if (closing.signal.aborted) throw new XapiError('INTERNAL_ERROR', ['the daemon of the destination stops']);
    const known = rowOf(request.migrationId);
    if (known !== undefined) return repeated(known);
    if (!admission.admit(request.migrationId, request.metadata.domain.uuid)) throw new XapiError('TOO_BUSY', []);
    try {
      return await begin(request);
    } catch (error) {
      admission.end(request.migrationId);
      throw error;
    }
  }

  /** Check, reserve and journal; what follows goes on in the background. */
  async function begin(request: ReceiveRequest): Promise<ReceiveReply> {
    await refuseEarlier(request.metadata.domain.uuid);
    const row = reservedRow(request, deps.xenopsUrl(), deps.announce);
    await assertFree(deps.backend, row);
    await deps.journal.put(row, 'powerLoss');
    try {
      if (restOf(row) === undefined)
        await deps.backend.reserve(request.migrationId, request.metadata.domain.memoryBytes);
      await reachPrepare(row);
    } catch (error) {
      await dropUnanswered(row);
      throw error;
    }
    const attempt = openAttempt(deps, row, request.metadata);
    attempts.set(request.migrationId, attempt);
    void attempt.ended.then(() => {
      attempts.delete(request.migrationId);
      admission.end(request.migrationId);
      const state = rowOf(request.migrationId)?.state;
      // What was taken and does not run has not ended, and neither has a refusal that is not durable.
      if (state === 'done' || state === 'refused') deps.onEnded(request.migrationId, state === 'done');
      recoverLater(request.migrationId);
    });
    return row.reply as ReceiveReply;
  }

  /** A rule may break it here, before the source has heard of it. */
  async function reachPrepare(row: DestinationRow<DestinationState>): Promise<void> {
    const { uuid, migrationId } = row;
    await deps.faults.at('prepare', { side: 'destination', uuid, migrationId, helpers: [], signal: closing.signal });
  }

  /** Nothing is kept of an attempt of which the source has not heard, once nothing is promised to it any more. */
  async function dropUnanswered(row: DestinationRow<DestinationState>): Promise<void> {
    try {
      await refuseRow(deps, row);
      await deps.journal.remove('destination', row.migrationId);
    } catch (error) {
      deps.log.warn('a refusal is completed later', { migration: row.migrationId, error });
      recoverLater(row.migrationId);
    }
  }

  /** A new attempt for a VM first refuses an older one that has not taken point 3. */
  async function refuseEarlier(uuid: string): Promise<void> {
    for (const row of destinationRows(deps.journal)) {
      if (row.uuid !== uuid || row.state === 'done') continue;
      if (row.state === 'refused') {
        await cleanUp(deps, row);
        continue;
      }
      const settlement = await settleRow(row, 'a newer attempt to migrate the VM has begun');
      if (settlement === 'taken') {
        throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', uuid, 'migrate_send', row.migrationId]);
      }
    }
  }

  /** What became of a VM that does not run is told from the row alone, until both who ask know it. */
  async function forgetKnown(row: DestinationRow<DestinationState>): Promise<void> {
    if (row.acknowledged && row.noted) await deps.journal.remove('destination', row.migrationId);
    else await deps.journal.put(row);
  }

  /** What was refused before point 1 no source can ask for any more. */
  async function forgetOld(): Promise<void> {
    const old = destinationRows(deps.journal).filter(
      ({ state, handle }) => state === 'refused' && handle === undefined,
    );
    await deps.journal.removeOld(old, rememberedMs).catch((error: unknown) => {
      deps.log.warn('old migrations are not forgotten yet', { error });
    });
  }

  /** @throws OTHER_OPERATION_IN_PROGRESS where the VM is just being taken */
  async function refuseUntaken(uuid: string): Promise<void> {
    for (const { migrationId, state } of destinationRows(deps.journal).filter((row) => row.uuid === uuid)) {
      if (state === 'refused' || hasTaken(state)) continue;
      const settlement = await inLane(uuid, async () => {
        const row = rowOf(migrationId);
        return row === undefined ? 'refused' : settleRow(row, 'an operator has settled it');
      });
      if (settlement !== 'taken') continue;
      throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', uuid, 'migrate_send', migrationId]);
    }
  }

  /** @throws where a refusal cannot be made durable: that is no answer */
  async function settleRow(row: DestinationRow<DestinationState>, reason: string): Promise<Settlement> {
    const settled = await attempts.get(row.migrationId)?.settle(reason);
    const now = rowOf(row.migrationId) ?? row;
    if (settled === 'taken' || hasTaken(now.state)) return 'taken';
    if (now.state !== 'refused') await refuseRow(deps, now, () => deps.onEnded(now.migrationId, false));
    return 'refused';
  }

  function received(migrationId: string): Fate {
    const state = rowOf(migrationId)?.state;
    if (state === undefined) return 'unknown';
    return state === 'done' || state === 'refused' ? state : 'open';
  }

  return {
    async assertTurn(migrationId, uuid) {
      checkMigrationId(migrationId);
      assertOwn(migrationId, uuid);
      if (rowOf(migrationId) === undefined && !admission.isTurn(migrationId, uuid)) throw new XapiError('TOO_BUSY', []);
    },
    async receive(request) {
      checkMigrationId(request.migrationId);
      return inLane(request.metadata.domain.uuid, () => receive(request));
    },
    async settle(id, token) {
      const row = authenticated(id, token);
      if (row === undefined) return 'unknown';
      return inLane(row.uuid, () => settleRow(rowOf(id) ?? row, 'the source has settled the migration'));
    },
    async acknowledge(id, token) {
      if (authenticated(id, token) === undefined) return;
      // Point 4 is out a moment before the end is journaled.
      if (hasTaken(rowOf(id)?.state ?? 'refused')) await attempts.get(id)?.ended;
      const row = rowOf(id);
      if (row?.state === 'refused') await cleanUp(deps, row);
      if (row !== undefined && restOf(row) !== undefined && isOver(row))
        return forgetKnown({ ...row, acknowledged: true });
      if (row !== undefined && isOver(row)) await deps.journal.remove('destination', id);
      else if (row !== undefined && hasTaken(row.state)) {
        throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', row.uuid, 'migrate_send', id]);
      }
    },
    async expects(id, token) {
      return authenticated(id, token)?.state === 'reserved';
    },
    async digest(id, token) {
      const row = authenticated(id, token);
      if (row?.handle === undefined) throw new XapiError('INTERNAL_ERROR', [`migration ${id} has no domain here`]);
      return deps.backend.digest(row.handle);
    },
    received,
    async refuseUnknown(migrationId, uuid) {
      checkMigrationId(migrationId);
      return inLane(uuid, async () => {
        if (rowOf(migrationId) === undefined) await deps.journal.put(unheardOf(migrationId, uuid), 'powerLoss');
        return received(migrationId);
      });
    },
    async noted(migrationId) {
      const row = rowOf(migrationId);
      if (row !== undefined && restOf(row) !== undefined && isOver(row)) await forgetKnown({ ...row, noted: true });
    },
    arriving: () =>
      destinationRows(deps.journal)
        .filter((row) => !isOver(row))
        .map(({ uuid }) => uuid),
    vmOf(handle) {
      const row = destinationRows(deps.journal).find((each) => each.handle && sameDomain(each.handle, handle));
      return row !== undefined && hasTaken(row.state) ? row.uuid : undefined;
    },
    async forceSettlement(uuid, runs) {
      if (runs === 'elsewhere') await refuseUntaken(uuid);
      const taken = destinationRows(deps.journal).find(
        ({ state, ...row }) => row.uuid === uuid && state !== 'done' && hasTaken(state),
      );
      if (taken === undefined) return false;
      const { migrationId, handle } = taken;
      if (attempts.has(migrationId)) {
        throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', uuid, 'migrate_send', migrationId]);
      }
      await inLane(uuid, async () => {
        const domains = await deps.backend.list();
        const copy = domains.find((domain) => handle !== undefined && sameDomain(domain.handle, handle));
        if (runs === 'here' && copy?.inDoubt !== undefined) await deps.backend.markInDoubt(copy.handle, undefined);
        await decideTaken(recovery, migrationId, runs === 'here' ? 'taken' : 'refused');
      });
      return true;
    },
    async recover() {
      for (const { migrationId, state } of destinationRows(deps.journal)) {
        if (state === 'done') deps.onEnded(migrationId, true);
        if (state === 'refused') deps.onEnded(migrationId, false);
        if (!hasTaken(state)) {
          await endUntaken(recovery, migrationId).catch((error: unknown) =>
            deps.log.error('a migration could not be ended yet', { migration: migrationId, error }),
          );
        }
        recoverLater(migrationId);
      }
      await forgetOld();
    },
    async close() {
      closing.abort(new XapiError('INTERNAL_ERROR', ['the daemon of the destination stops']));
      await Promise.all([...attempts.values()].map((attempt) => attempt.settle('the daemon of the destination stops')));
      await Promise.all([...attempts.values()].map((attempt) => attempt.ended));
      await Promise.all(recovering.values());
    },
  };
}
