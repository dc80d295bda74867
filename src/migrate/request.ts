/** What is asked of the source of a migration, and what comes of it. JSON throughout, as it crosses from host to coordinator. */
import { z } from 'zod';
import { isErrorCode, XapiError } from '../base/errors.js';
import type { ConvergenceStrategy, CopyFigures } from '../base/protocol/emu-protocol.js';
import { httpUrl, parse } from '../base/schema.js';
import type { Compressor } from './compressor.js';
import { metadataSchema, migrationId, uuid, type VmMetadata } from './metadata.js';

/** How a source reaches the destination's `VM.receive`. */
export type Destination =
  /** A host of this pool, at its own RPC, with a proof that the source has the pool's secret. */
  | (Route & { readonly kind: 'pool'; readonly hostUuid: string; readonly url: string })
  /** Another pool, at its coordinator, with the session that its host.migrate_receive made. */
  | (Route & { readonly kind: 'foreign'; readonly hostRef: string; readonly master: string; readonly session: string });

interface Route {
  /** The URL by which the destination's xenops path is reached, as the caller has it; where the destination says, if absent. */
  readonly xenops?: string | undefined;
}

export interface MigrateRequest {
  /** Random; the key of the migration on every host. */
  readonly migrationId: string;
  /** The task that shows it, for the logs of both sides and for TASK_CANCELLED. */
  readonly task: string;
  /** The uuid of the VM here. */
  readonly uuid: string;
  /** The uuid of the source host, for messages. */
  readonly source: string;
  readonly destination: Destination;
  /** What the destination needs to know of the VM; goes to VM.receive. */
  readonly metadata: VmMetadata;
  /** Whether compression was asked for; which compressor that means is the host's own configuration. */
  readonly compress: boolean;
}

/**
 * The error of a migration that failed: the VM and its source by uuid, and the destination, which of another pool is its address.
 * @param why phase and side, the cause, and what to do
 */
export function migrateFailed({ uuid, source, destination }: MigrateRequest, why: string, cause?: unknown): XapiError {
  const where = destination.kind === 'pool' ? destination.hostUuid : destination.master;
  return new XapiError('VM_MIGRATE_FAILED', [uuid, source, where, why], cause);
}

const route = { xenops: httpUrl.optional() };
const requestSchema = z.object({
  migrationId,
  task: z.string(),
  uuid,
  source: z.string(),
  destination: z.discriminatedUnion('kind', [
    z.object({ ...route, kind: z.literal('pool'), hostUuid: z.string(), url: httpUrl }),
    z.object({ ...route, kind: z.literal('foreign'), hostRef: z.string(), master: httpUrl, session: z.string() }),
  ]),
  metadata: metadataSchema,
  compress: z.boolean(),
});

/** A request, checked where it comes in. @throws INVALID_VALUE that names the part that is wrong and what is allowed */
export function checkRequest(value: unknown): MigrateRequest {
  return parse(requestSchema, 'migration', value);
}

/** What a migration did; goes into task.other_config. */
export interface MigrationReport {
  readonly compressorAsked: Compressor;
  readonly compressorUsed: Compressor;
  readonly fallback?: string;
  /** The configured strategy, where emu-manager knows it. */
  readonly convergence?: ConvergenceStrategy;
  /** The last figures of the copy, where emu-manager gave some. */
  readonly copy?: CopyFigures;
  /** The arguments that emu-manager got. */
  readonly emuFlags: readonly string[];
  /** The cookies of the memory channel. */
  readonly cookies: Readonly<Record<string, string>>;
  /** Bytes of guest pages that were sent, pages that were sent again counted again. */
  readonly guestBytes?: number;
  /** Bytes on the memory channel. */
  readonly wireBytes?: number;
  /** Bytes on the channels of virtual GPUs. */
  readonly vgpuWireBytes?: number;
  readonly rounds?: number;
  /** From the start to point 4. */
  readonly seconds: number;
  /** From the pause at the source until it heard that the VM runs at the destination. */
  readonly downtimeMs: number;
  /** Digests of both sides, where the host was configured to take them. */
  readonly digests?: { readonly source: string; readonly destination: string };
  /** The VM's reference at the destination, from another pool. */
  readonly vm?: string;
}

/** What compression comes to: told as soon as it is decided, and again in the report. */
export type CompressionReport = Pick<MigrationReport, 'compressorAsked' | 'compressorUsed' | 'fallback'>;

export interface WireError {
  readonly code: string;
  readonly params: readonly string[];
}

export type MigrationOutcome =
  | { readonly status: 'success'; readonly report: MigrationReport }
  | { readonly status: 'failure' | 'cancelled'; readonly error: WireError }
  /** Past the commit point without an answer: the VM is paused here, in doubt, until it is settled. */
  | { readonly status: 'in-doubt'; readonly error: WireError };

/** An error as it crosses the wire. */
export function toWireError(error: XapiError): WireError {
  return { code: error.code, params: [...error.params] };
}

/** What is told of a migration that leaves. */
export type MigrationEvent =
  | {
      readonly kind: 'migration-progress';
      readonly migrationId: string;
      readonly progress: number;
      readonly phase: string;
      /** What compression comes to, once that is decided. */
      readonly compression?: CompressionReport | undefined;
    }
  /** How the copy of a migration that leaves goes. */
  | { readonly kind: 'migration-figures'; readonly migrationId: string; readonly figures: CopyFigures }
  | { readonly kind: 'migration-ended'; readonly migrationId: string; readonly outcome: MigrationOutcome };

/** An error that came over the wire. */
export function fromWireError({ code, params }: WireError): XapiError {
  return isErrorCode(code)
    ? new XapiError(code, params)
    : new XapiError('INTERNAL_ERROR', [[code, ...params].join(' ')]);
}
