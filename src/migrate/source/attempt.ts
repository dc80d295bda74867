/** What the phases of one migration share at its source: the state of the attempt, and how a phase journals, waits and fails. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Backend } from '../../backend/backend.js';
import type { SaveHelper } from '../../backend/save-helper.js';
import { untilAborted, within } from '../../base/deadline.js';
import { messageOf, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { CompressionLevel, ConvergenceRule, CopyFigures } from '../../base/protocol/emu-protocol.js';
import { PeerError } from '../../wire/connection/handshake.js';
import type { RawSocket } from '../../wire/connection/raw-socket.js';
import type { ZstdCommand } from '../../wire/connection/zstd-pipe.js';
import type { ImageLimits } from '../../xenops/image.js';
import type { Journal, SourceRow } from '../../xenops/journal.js';
import type { Suspended } from '../../xenops/suspended.js';
import type { Compressor, ConfiguredCompressor, Effect } from '../compressor.js';
import type { FaultPlace, Faults, Helper } from '../faults.js';
import type { ReceiveReply } from '../metadata.js';
import { hear, shorten } from '../peer-text.js';
import type { Agreed, Peers } from '../peers.js';
import type { Points } from '../points.js';
import type { Phase, Side, SourceState, Step, SynchronisationPoint } from '../protocol.js';
import { type CompressionReport, type MigrateRequest, migrateFailed } from '../request.js';

export interface SourceDeps {
  readonly backend: Backend;
  readonly suspended: Pick<Suspended, 'imageOf' | 'sizes' | 'send' | 'discard'>;
  readonly journal: Journal;
  /** Of the back end, as it was configured when the operation was queued. */
  readonly helper: SaveHelper;
  readonly zstd: ZstdCommand;
  readonly peers: Peers;
  readonly faults: Faults;
  /** The URL below which this host answers the other ones. */
  readonly xenopsUrl: () => string;
  readonly log: Log;
}

export interface SourceSettings {
  /** `migration-compressor` as it was when the operation was queued. */
  readonly compressor: ConfiguredCompressor;
  /** The warning where `compressor` stands in for a configured value that is not known. */
  readonly compressorWarning?: string | undefined;
  /** `migration-compression-level` as it was when the operation was queued. */
  readonly compressionLevel: CompressionLevel;
  /** When a live copy stops, as it was configured when the operation was queued. */
  readonly convergence: ConvergenceRule;
  /** Take digests of both sides and compare them. */
  readonly digest: boolean;
  /** How long to wait for the destination at a synchronisation point. */
  readonly stepTimeoutMs: number;
  /** How long the guest may take to stop. */
  readonly suspendTimeoutMs: number;
  readonly limits: ImageLimits;
  /** After how much silence TCP asks whether the destination is there, in milliseconds. */
  readonly keepAliveMs: number;
}

export interface SourceHooks {
  /** Aborted when the migration is to stop; heard until the commit point. */
  readonly signal: AbortSignal;
  /** @param progress 0 to 1 */
  onProgress(phase: Phase, progress: number): void;
  /** Called once with what compression comes to. */
  onDecided(compression: CompressionReport): void;
  /** Called about twice a second with how the copy goes. */
  onFigures(figures: CopyFigures): void;
  /** Aborted when the daemon stops: past the commit point nothing is waited for any more, the next start goes on. */
  readonly closing: AbortSignal;
  /** Wait for a turn at the destination, without a turn and a worker here. */
  standAside(wait: () => Promise<void>): Promise<void>;
  /** Called when the commit is about to be journaled: from now on the signal is not to be aborted. */
  onCommit(): void;
}

/** Everything about one migration that its phases share. */
export interface SourceAttempt {
  readonly deps: SourceDeps;
  readonly settings: SourceSettings;
  readonly hooks: SourceHooks;
  readonly request: MigrateRequest;
  readonly log: Log;
  /** The start, on the clock of `performance.now`; the wait for a turn at the destination is left out. */
  startedAt: number;
  readonly sockets: RawSocket[];
  /** The processes that were started for the migration. */
  readonly helpers: Helper[];
  /** Whether the channels are closed; a channel that opens later is closed at once. */
  closed: boolean;
  phase: Phase;
  /** The side to which a failure at this moment is put down. */
  failedSide: Side;
  /** The request with the address of the route that its caller has named; VM.receive is called by it. */
  located?: MigrateRequest;
  /** The call of VM.receive, once it was made. */
  asked?: Promise<ReceiveReply>;
  /** The row that was journaled last; absent until `begin` has found the domain. */
  row?: SourceRow<SourceState>;
  control?: RawSocket;
  /** The points; the next one on the control channel is listened for from the copy on. */
  readonly points: Points;
  pausedAt?: number;
}

/** What compression comes to, decided once. */
export interface Decision extends Effect {
  readonly asked: Compressor;
  readonly cookies: Readonly<Record<string, string>>;
  /** Whether emu-manager goes by the configured rule of convergence. */
  readonly converges: boolean;
}

/** Times up to now: since the start, and since the pause of a VM that ran. */
export function elapsed({ startedAt, pausedAt, row }: SourceAttempt): {
  readonly seconds: number;
  readonly downtimeMs: number;
} {
  const now = performance.now();
  return {
    seconds: (now - startedAt) / 1000,
    downtimeMs: row?.wasRunning === true && pausedAt !== undefined ? now - pausedAt : 0,
  };
}

/**
 * The XenAPI error of a failure: itself where it says something of its own, else VM_MIGRATE_FAILED with phase, side and cause.
 */
export function migrationError(attempt: SourceAttempt, error: unknown): XapiError {
  const { request, phase, failedSide } = attempt;
  if (error instanceof XapiError && saysEnough(error)) return error;
  const cause = shorten(error instanceof XapiError ? error.params.join(' ') : messageOf(error));
  return migrateFailed(request, `${phase}, ${failedSide}: ${cause}`, error);
}

/** Whether an error can go to the caller as it is; one about a domain's handle says nothing to the caller. */
function saysEnough({ code, params }: XapiError): boolean {
  return code !== 'INTERNAL_ERROR' && !(code === 'HANDLE_INVALID' && params[0] === 'domain');
}

/** Begin a phase: a failure from now on is put down to the source until more is known. */
export function enter(attempt: SourceAttempt, phase: Phase): void {
  attempt.phase = phase;
  attempt.failedSide = 'source';
  attempt.hooks.onProgress(phase, 0);
  attempt.log.debug(`phase ${phase}`);
}

/**
 * Tell that the source has reached a step; a rule may break something here. @throws the error of the rule
 * @param signal ends what the rule waits for; the migration's own, where absent
 */
export function reach(attempt: SourceAttempt, step: Step, signal = attempt.hooks.signal): Promise<void> {
  return attempt.deps.faults.at(step, { ...placeOf(attempt), signal });
}

/** The migration as the rules that break migrations see it. */
export function placeOf({ request: { uuid, migrationId }, helpers, hooks }: SourceAttempt): FaultPlace {
  return { side: 'source', uuid, migrationId, helpers, signal: hooks.signal };
}

/** Journal a row. The commit point must outlive a loss of power. */
export async function write(attempt: SourceAttempt, row: SourceRow<SourceState>): Promise<void> {
  attempt.row = row;
  await attempt.deps.journal.put(row, ['going', 'done', 'failed'].includes(row.state) ? 'powerLoss' : undefined);
}

/** The row that was journaled last. @throws INTERNAL_ERROR before `begin` */
export function rowOf(attempt: SourceAttempt): SourceRow<SourceState> {
  if (attempt.row === undefined) throw new XapiError('INTERNAL_ERROR', ['the migration was not begun']);
  return attempt.row;
}

/** What a source needs to settle the attempt, from VM.receive's reply and the route to the destination. */
export function agreedFrom(
  { migrationId, destination }: Pick<MigrateRequest, 'migrationId' | 'destination'>,
  { control, token }: ReceiveReply,
): Agreed {
  const direct = control.replace(/\/migrate\/vm\/[^/]*$/, '');
  const { xenops = direct } = destination;
  return { migrationId, xenopsUrl: xenops, ...(xenops === direct ? {} : { direct }), token };
}

/** @throws INTERNAL_ERROR before VM.receive has answered */
export function agreedOf(row: SourceRow): Agreed {
  if (row.agreed === undefined) throw new XapiError('INTERNAL_ERROR', ['the destination has agreed to nothing']);
  return row.agreed;
}

/**
 * How long to wait for a destination's reason after a channel broke, in milliseconds: a destination that fails closes its
 * channels first.
 */
export const explanationMs = 500;

/** Wait for the destination at a point; a failure meanwhile is put down to the destination. */
export async function recv(attempt: SourceAttempt, point: SynchronisationPoint, from: RawSocket): Promise<void> {
  await attempt.points.wait(point, () => hear(from).catch((error: unknown) => explain(attempt, from, error)));
}

/** Throw the destination's reason for a failure: it comes on the control channel alone, whichever channel has failed. */
async function explain({ control }: SourceAttempt, from: RawSocket, error: unknown): Promise<never> {
  if (control !== undefined && control !== from && !(error instanceof PeerError)) {
    await within(hear(control), explanationMs, 'no reason').catch((said: unknown) => {
      if (said instanceof PeerError) throw said;
    });
  }
  throw error;
}

/**
 * Do work that needs the destination, unless the migration is to stop. A failure is put down to the destination, and a cancel
 * is heard.
 */
export async function ofDestination<T>(attempt: SourceAttempt, work: () => Promise<T>): Promise<T> {
  attempt.hooks.signal.throwIfAborted();
  attempt.failedSide = 'destination';
  const result = await untilAborted(work(), attempt.hooks.signal);
  attempt.failedSide = 'source';
  return result;
}

/** The first pause between two calls of VM.receive at a destination that is busy, in milliseconds. */
const firstBusyPauseMs = 125;
const longestBusyPauseMs = 500;

/** Call VM.receive again and again for as long as the destination is busy: nothing has begun there meanwhile. */
export async function askInTurn(attempt: SourceAttempt, ask: () => Promise<ReceiveReply>): Promise<ReceiveReply> {
  const { hooks, log } = attempt;
  for (let pauseMs = firstBusyPauseMs; ; pauseMs = Math.min(2 * pauseMs, longestBusyPauseMs)) {
    try {
      return await ofDestination(attempt, ask);
    } catch (error) {
      if (!(error instanceof XapiError) || error.code !== 'TOO_BUSY') throw error;
    }
    if (pauseMs === firstBusyPauseMs) log.info('queued: the destination takes as many VMs as it may');
    enter(attempt, 'queued');
    const since = performance.now();
    await hooks.standAside(() => delay(pauseMs, undefined, { signal: hooks.signal }));
    attempt.startedAt += performance.now() - since;
    enter(attempt, 'prepare');
  }
}

/** Keep a channel that is being opened, and close it where it opens when nobody waits for it any more. */
export async function keepChannel(attempt: SourceAttempt, opening: Promise<RawSocket>): Promise<RawSocket> {
  const socket = await opening;
  attempt.sockets.push(socket);
  if (attempt.closed) socket.destroy();
  return socket;
}

/** Close the daemon's descriptors of all channels, of those that are still to open as well. */
export function closeChannels(attempt: SourceAttempt): void {
  attempt.closed = true;
  for (const socket of attempt.sockets) socket.destroy();
}
