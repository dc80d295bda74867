/**
 * What a host does for its coordinator: the whole of what the pool layer may ask of a host, here in process or there over
 * RPC, by the same interface. Everything is JSON. Times are seconds unless the name says otherwise, sizes bytes.
 *
 * A host knows no database of the pool: what it needs comes in the call, and what happens on it goes out as events.
 */
import type { DomainHandle, DomainSpec, DomainState } from '../base/hypervisor-protocol.js';

/** How a source reaches the destination's `VM.receive`. */
export type Destination =
  /** A host of this pool, at its own RPC, with the pool's secret. */
  | { readonly kind: 'pool'; readonly hostUuid: string; readonly url: string }
  /** Another pool, at its coordinator, with the session that its host.migrate_receive made. */
  | { readonly kind: 'foreign'; readonly hostRef: string; readonly master: string; readonly session: string };

export interface MigrateRequest {
  /** Random, made by the coordinator's call; the key of the migration on every host. */
  readonly migrationId: string;
  /** The task that shows it, for the logs of both sides. */
  readonly task: string;
  /** The uuid of the VM here. */
  readonly uuid: string;
  /** The name of the source host, for messages. */
  readonly source: string;
  readonly destination: Destination;
  /** What the destination needs to know of the VM; goes to VM.receive as it is. */
  readonly metadata: VmMetadata;
  /** Whether compression was asked for; which compressor that means is the host's own configuration. */
  readonly compress: boolean;
}

/** A VM as its destination needs to know it: the domain, and the record for a pool that does not have it yet. */
export interface VmMetadata {
  readonly version: 1;
  readonly domain: DomainSpec;
  readonly vifs: readonly {
    readonly uuid: string;
    readonly device: string;
    readonly mac: string;
    readonly network: string;
  }[];
  /** The VM's record and those of its devices, for another pool; absent within a pool. */
  readonly records?: unknown;
}

export interface ReceiveRequest {
  readonly migrationId: string;
  readonly metadata: VmMetadata;
}

/** The result of VM.receive, as a map of strings on the wire. */
export interface ReceiveReply {
  /** The URLs of the channels, without a query. */
  readonly control: string;
  readonly memory: string;
  /** By device. */
  readonly vgpu: Readonly<Record<string, string>>;
  /** For this migration alone: the channels' session_id, and what authenticates settle. */
  readonly token: string;
  /** The stream formats that the destination accepts beyond plain and zstd pipe, with versions: `inline-zstd/1`. */
  readonly accepts: readonly string[];
  /** The destination can send 2-restored. */
  readonly restoredAck: boolean;
}

/** What a migration did; goes into task.other_config. */
export interface MigrationReport {
  readonly compressorAsked: 'none' | 'stream' | 'xenguest';
  readonly compressorUsed: 'none' | 'stream' | 'xenguest';
  readonly fallback?: string;
  readonly emuFlags: readonly string[];
  readonly cookies: Readonly<Record<string, string>>;
  readonly guestBytes?: number;
  readonly wireBytes?: number;
  readonly rounds?: number;
  readonly seconds: number;
  readonly downtimeMs: number;
  /** Digests of both sides, where the host was configured to take them. */
  readonly digests?: { readonly source: string; readonly destination: string };
}

export interface WireError {
  readonly code: string;
  readonly params: readonly string[];
}

export type MigrationOutcome =
  | { readonly status: 'success'; readonly report: MigrationReport }
  | { readonly status: 'failure' | 'cancelled'; readonly error: WireError }
  /** Past the commit point without an answer: the VM is paused here, in doubt, until it is settled. */
  | { readonly status: 'in-doubt'; readonly error: WireError };

export type HostEvent =
  | { readonly kind: 'domain'; readonly uuid: string; readonly state: DomainState; readonly handle: DomainHandle }
  | { readonly kind: 'domain-gone'; readonly uuid: string }
  | {
      readonly kind: 'migration-progress';
      readonly migrationId: string;
      readonly progress: number;
      readonly phase: string;
    }
  | { readonly kind: 'migration-ended'; readonly migrationId: string; readonly outcome: MigrationOutcome };

export interface HostState {
  readonly uuid: string;
  readonly name: string;
  /** http URL of the host's port. */
  readonly url: string;
  readonly memoryTotal: number;
  readonly memoryFree: number;
  readonly cpus: number;
  readonly domains: readonly { readonly uuid: string; readonly state: DomainState; readonly domid: number }[];
}

export interface HostService {
  state(): Promise<HostState>;
  /** Create, build and unless `paused` run a domain. */
  start(spec: DomainSpec, paused: boolean): Promise<void>;
  pause(uuid: string): Promise<void>;
  unpause(uuid: string): Promise<void>;
  /** Clean asks the guest first. */
  shutdown(uuid: string, clean: boolean): Promise<void>;
  /** Journal and queue a migration; returns then. Idempotent by migrationId. Its end comes as an event. */
  migrate(request: MigrateRequest): Promise<void>;
  /** Stop a migration that has not passed its commit point. @throws OPERATION_NOT_ALLOWED after it */
  cancel(migrationId: string): Promise<void>;
  /** How a migration of this source ended; undefined while it runs. */
  outcome(migrationId: string): Promise<MigrationOutcome | undefined>;
  receive(request: ReceiveRequest): Promise<ReceiveReply>;
  /** Events after the given number, oldest first; waits up to `timeoutSeconds` for one. `next` is for the next call. */
  events(since: number, timeoutSeconds: number): Promise<{ events: HostEvent[]; next: number }>;
}
