/** What saves and restores the domains of a back end: one process for each, which streams over descriptors that it is handed. */
import type { DomainHandle } from '../base/domain.js';
import type { Log } from '../base/log.js';
import type { HelperSettings } from '../base/process/helper-process.js';
import type { ConvergenceRule, CopyFigures, EmuFeature, SaveStatistics } from '../base/protocol/emu-protocol.js';
import type { StreamFormats } from '../base/protocol/stream-formats.js';

/** As it was configured when it was asked for. */
export interface SaveHelper {
  /** What the compressed streams of this back end are called. */
  readonly formats: StreamFormats;
  /** Whether it knows a feature; one that cannot say does not. @throws the signal's reason */
  supports(feature: EmuFeature, init: AskInit): Promise<boolean>;
  /** Those of the formats that it can restore. @throws the signal's reason */
  readable(init: AskInit): Promise<readonly string[]>;
  /**
   * Save a domain; it stays, paused. A failure before `onSuspend` leaves it running if it ran.
   * @returns the arguments that the program got, and its statistics where it gave some
   * @throws what the program reports, what a callback throws, or the signal's reason; the process is gone then
   */
  save(handle: DomainHandle, init: DomainSaveInit): Promise<DomainSaved>;
  /**
   * Restore a domain that was created and not built. It is paused then; after a failure it is of no use but to be destroyed.
   * @throws as `save`
   */
  restore(handle: DomainHandle, init: DomainStreamInit): Promise<void>;
}

/** How a program is asked. */
export interface AskInit extends HelperSettings {
  readonly signal: AbortSignal;
}

/** An open stream; its descriptor is negative once it is closed. */
interface Descriptor {
  readonly fd: number;
}

/** Times in milliseconds. */
export interface DomainStreamInit extends HelperSettings {
  /** In blocking mode when it is the process's turn to have it. */
  readonly memory: Descriptor;
  /** Those of the virtual GPUs, in their order. */
  readonly vgpus: readonly Descriptor[];
  /** Aborts the process. */
  readonly signal: AbortSignal;
  /** How long it has to exit once it has given its results, or has closed its control channel. */
  readonly exitTimeoutMs: number;
  readonly log: Log;
  /** The memory stream is about to be written or read: what comes before it in its channel is not the process's. */
  beforeMemory(): Promise<void>;
  /** The same of the virtual GPUs' streams. */
  beforeVgpus(): Promise<void>;
  /** @param percent 0 to 100 */
  onProgress(percent: number): void;
  onStarted?(pid: number): void;
}

/** Compression inside the streams, of a program that supports `compress`. */
export interface StreamCompression {
  /** A level of zstd; the program decides where absent. */
  readonly level?: number;
  /** Without the checksum over the whole memory stream: for one that supports `compress_format`. */
  readonly unchecked?: true;
  /** The streams of virtual GPUs stay plain: for one that supports `compress_vgpu`. */
  readonly plainVgpus?: true;
}

export interface DomainSaveInit extends DomainStreamInit {
  /** Whether the domain runs, so that it is copied while it does. */
  readonly live: boolean;
  /** Absent: the streams are plain. */
  readonly compression?: StreamCompression;
  /** When a live copy stops, for a program that supports `convergence`, which then tells figures; its own rule where absent. */
  readonly convergence?: ConvergenceRule;
  /** With `convergence`: the inode of the socket to the other host. What waits in it is not there yet, whoever wrote it. */
  readonly link?: string;
  /** The live phase has converged: pause the domain. */
  onSuspend(): Promise<void>;
  /** How the copy goes, now and then. */
  onFigures?(figures: CopyFigures): void;
}

export interface DomainSaved {
  readonly argv: readonly string[];
  readonly statistics: Partial<SaveStatistics>;
}
