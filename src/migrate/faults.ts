/**
 * Where a migration can be made to fail on purpose: each side says which step it has reached, and with which helpers and
 * channels, and waits for what a rule does there. Without rules nothing happens. The rules are in host/faults.
 */
import type { ChannelKind } from '../wire/connection/channel.js';
import type { RawSocket } from '../wire/connection/raw-socket.js';
import type { Side, Step } from './protocol.js';

/** A process that works for a migration. */
export interface Helper {
  readonly name: 'emu-manager' | 'zstd';
  readonly pid: number;
}

/** Which migration it is, and what of it can be broken. */
export interface FaultPlace {
  readonly side: Side;
  /** The VM's uuid. */
  readonly uuid: string;
  readonly migrationId: string;
  /** Those that were started so far, those that have ended included. */
  readonly helpers: readonly Helper[];
  /** Aborted when the migration is to stop: what a rule waits for ends then. */
  readonly signal: AbortSignal;
}

export interface Faults {
  /** A side has reached a step. Resolves at once where no rule is about it. @throws what a rule says */
  at(step: Step, place: FaultPlace): Promise<void>;
  /** A channel that a side has, of which nothing was read yet: itself, or one that passes through what a rule can break. */
  channel(kind: ChannelKind, place: FaultPlace, socket: RawSocket): Promise<RawSocket>;
}
