/**
 * The places where a migration can be made to fail on purpose: each side tells the step that it has reached, with its helpers and
 * channels, and waits for the effect of a rule there. Without rules nothing happens. The rules are in host/faults.
 */
import type { ChannelKind } from '../wire/connection/channel.js';
import type { RawSocket } from '../wire/connection/raw-socket.js';
import type { Side, Step } from './protocol.js';

/** A process that works for a migration. */
export interface Helper {
  readonly name: 'emu-manager' | 'zstd';
  readonly pid: number;
}

/** A migration at a step, and the parts of it that can be broken. */
export interface FaultPlace {
  readonly side: Side;
  /** The VM's uuid. */
  readonly uuid: string;
  readonly migrationId: string;
  /** The helpers that were started so far, those that have ended included. */
  readonly helpers: readonly Helper[];
  /** Aborted when the migration is to stop, so that a rule stops waiting. */
  readonly signal: AbortSignal;
}

export interface Faults {
  /** Tell that a side has reached a step. Resolves at once where no rule is about the step. @throws the error of a rule */
  at(step: Step, place: FaultPlace): Promise<void>;
  /** Take a channel of which nothing was read yet. @returns the channel, or one in its place that a rule can break */
  channel(kind: ChannelKind, place: FaultPlace, socket: RawSocket): Promise<RawSocket>;
}
