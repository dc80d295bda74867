/**
 * What the phases of one attempt share at its destination: the state of the attempt, and how a phase journals, waits and fails.
 */
import type { Backend } from '../../backend/backend.js';
import { untilAborted } from '../../base/deadline.js';
import type { Log } from '../../base/log.js';
import type { ChannelKind } from '../../wire/connection/channel.js';
import type { RawSocket } from '../../wire/connection/raw-socket.js';
import type { ZstdCommand } from '../../wire/connection/zstd-pipe.js';
import type { ImageLimits } from '../../xenops/image.js';
import type { DestinationRow, Journal } from '../../xenops/journal.js';
import type { CopyPlace } from '../../xenops/progress-watch.js';
import type { Suspended } from '../../xenops/suspended.js';
import type { FaultPlace, Faults, Helper } from '../faults.js';
import type { VmMetadata } from '../metadata.js';
import type { Points } from '../points.js';
import type { DestinationState, Step, SynchronisationPoint } from '../protocol.js';
import type { ArrivedChannel, Meeting, Rendezvous } from './rendezvous.js';

export interface AttemptDeps {
  readonly backend: Backend;
  readonly suspended: Pick<Suspended, 'receive' | 'keep' | 'drop'>;
  readonly journal: Journal;
  readonly rendezvous: Rendezvous;
  readonly faults: Faults;
  readonly zstd: () => ZstdCommand;
  readonly limits: () => ImageLimits;
  /** How long to wait for the channels, and for the source at a synchronisation point, in milliseconds. */
  readonly timeouts: () => { readonly acceptMs: number; readonly stepMs: number };
  readonly log: Log;
}

export interface DestinationAttempt {
  readonly deps: AttemptDeps;
  readonly metadata: VmMetadata;
  /** What it occupies among the migrations that arrive. */
  readonly place: CopyPlace;
  readonly meeting: Meeting;
  /** A log whose lines name the source's task once the control channel is here. */
  log: Log;
  /** Aborted, with the reason, when the attempt is refused from outside. */
  readonly refusal: AbortController;
  /** The processes that were started for the attempt. */
  readonly helpers: Helper[];
  /** Aborted, with the reason, when the source reports an Error, is early, or is gone. */
  readonly failure: AbortController;
  row: DestinationRow<DestinationState>;
  control?: RawSocket;
  /** The points; the source's next one on the control channel is listened for all the time. */
  readonly points: Points;
}

/** Wait for a channel. @returns the channel, or one in its place that a rule can break */
export async function accept(attempt: DestinationAttempt, kind: ChannelKind, device?: string): Promise<ArrivedChannel> {
  const { deps, meeting } = attempt;
  const arrived = await step(attempt, meeting.channel(kind, device, deps.timeouts().acceptMs));
  return { ...arrived, socket: await deps.faults.channel(kind, placeOf(attempt), arrived.socket) };
}

/** Tell that the destination has reached a step; a rule may break something here. @throws the error of the rule */
export function reach(attempt: DestinationAttempt, to: Step): Promise<void> {
  return attempt.deps.faults.at(to, placeOf(attempt));
}

function placeOf({ row: { uuid, migrationId }, helpers, refusal }: DestinationAttempt): FaultPlace {
  return { side: 'destination', uuid, migrationId, helpers, signal: refusal.signal };
}

/** Journal a row. The decision to take the VM must outlive a loss of power. */
export async function write(attempt: DestinationAttempt, row: DestinationRow<DestinationState>): Promise<void> {
  attempt.row = row;
  await attempt.deps.journal.put(row, row.state === 'taken' ? 'powerLoss' : undefined);
}

/** Listen for the source's next point from now on: an Error, or a point that is early, ends the attempt at once. */
export function listen(attempt: DestinationAttempt, point: SynchronisationPoint): void {
  attempt.points.listen(point, attempt.control as RawSocket).catch((error: unknown) => attempt.failure.abort(error));
}

/** Wait for work, until the attempt is refused or the source fails. @throws the reason then */
export function step<T>(attempt: DestinationAttempt, work: Promise<T>): Promise<T> {
  return untilAborted(work, stopOf(attempt));
}

/** The signal that ends the attempt's work: aborted when the attempt is refused, or the source fails. */
export function stopOf({ refusal, failure }: DestinationAttempt): AbortSignal {
  return AbortSignal.any([refusal.signal, failure.signal]);
}
