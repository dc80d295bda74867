/**
 * What a host does for its coordinator: the whole of what the pool layer may ask of a host, here in process or there over
 * RPC, by the same interface. Everything is JSON. Times are seconds unless the name says otherwise, sizes bytes.
 *
 * A host knows no database of the pool: what it needs comes in the call, and what happens on it goes out as events.
 */

import type { DomainHandle, DomainSpec, DomainState, GuestEnd } from '../../base/domain.js';
import type { ReceiveReply, ReceiveRequest } from '../../migrate/metadata.js';
import type { Fate, RunsWhere } from '../../migrate/protocol.js';
import type { MigrateRequest, MigrationEvent, MigrationOutcome } from '../../migrate/request.js';
import type { HostStorage } from '../storage/storage.js';
import type { BusyJob, Job, JobFate } from './jobs.js';
import type { MachineDescription } from './machine.js';

export type { CopyFigures } from '../../base/protocol/emu-protocol.js';
export type { ReceiveReply, ReceiveRequest, VmMetadata } from '../../migrate/metadata.js';
export type {
  CompressionReport,
  Destination,
  MigrateRequest,
  MigrationOutcome,
  MigrationReport,
  WireError,
} from '../../migrate/request.js';
export type { BusyJob, Job, JobFate } from './jobs.js';

export type HostEvent =
  | { readonly kind: 'domain'; readonly uuid: string; readonly state: DomainState; readonly handle: DomainHandle }
  | { readonly kind: 'domain-gone'; readonly uuid: string }
  | MigrationEvent
  /** A migration to this host is over: the VM is here, or it will never be. */
  | { readonly kind: 'receive-ended'; readonly migrationId: string; readonly taken: boolean }
  /** A job has ended of which the coordinator has asked what became of it. */
  | { readonly kind: 'job-ended'; readonly id: string };

export interface HostState {
  readonly uuid: string;
  readonly name: string;
  /** http URL of the host's port. */
  readonly url: string;
  /** What runs its domains. Absent from a host of an earlier version, which has the simulator. */
  readonly backend?: string | undefined;
  readonly memoryTotal: number;
  readonly memoryFree: number;
  readonly cpus: number;
  /** What its clock shows, in milliseconds since 1970. Absent from a host of an earlier version. */
  readonly clock?: number | undefined;
  /** How far its time zone is ahead of UTC, in minutes. Absent from a host of an earlier version. */
  readonly utcOffset?: number | undefined;
  /** When its daemon has started, in seconds since 1970. Absent from a host of an earlier version. */
  readonly startedAt?: number | undefined;
  /** Absent from a host of an earlier version. */
  readonly machine?: MachineDescription | undefined;
  readonly domains: readonly {
    readonly uuid: string;
    readonly state: DomainState;
    readonly domid: number;
    /** How the guest has ended, where the state is `shutdown`. Absent from an earlier version. */
    readonly ended?: GuestEnd | undefined;
    /** Why the domain is in doubt; such a domain is paused, and refuses to run. */
    readonly inDoubt?: string | undefined;
    /** Why the domain was paused though nobody has asked for a pause. Absent from an earlier version. */
    readonly stalled?: string | undefined;
  }[];
  /**
   * The uuids of VMs that may run elsewhere: sent, past the commit point, and no outcome known. Absent from an earlier version.
   */
  readonly leaving?: readonly string[] | undefined;
  /** The uuids of VMs that may yet run here: announced, and neither refused nor done. Absent from an earlier version. */
  readonly arriving?: readonly string[] | undefined;
  /** The uuids of VMs whose memory is here in a suspend image. Absent from a host of an earlier version. */
  readonly suspended?: readonly string[] | undefined;
  /**
   * The coordinator's jobs that are under way or wait for their VM's lane; the effect of a job that has left the list shows in the rest
   * of the state. Absent from a host of an earlier version.
   */
  readonly busy?: readonly BusyJob[] | undefined;
}

/** What the coordinator may ask of a host. A call is refused whose job is over. */
export interface HostService {
  state(): Promise<HostState>;
  /** Create, build and unless `paused` run a domain. */
  start(spec: DomainSpec, paused: boolean, job?: Job): Promise<void>;
  pause(uuid: string, job?: Job): Promise<void>;
  unpause(uuid: string, job?: Job): Promise<void>;
  /** Shut a VM down; `clean` asks the guest first. A suspend image is removed as well. Fine where there is neither. */
  shutdown(uuid: string, clean: boolean, job?: Job): Promise<void>;
  /** End a domain and start it anew, as another domain. */
  reboot(spec: DomainSpec, clean: boolean, job?: Job): Promise<void>;
  /** Save a domain into a suspend image on this host, and destroy the domain. A failure leaves the domain as it was. */
  suspend(uuid: string, job?: Job): Promise<void>;
  /** Make a domain of a suspend image, and remove the image. A failure leaves the image. @throws VM_HAS_NO_SUSPEND_VDI */
  resume(uuid: string, paused: boolean, job?: Job): Promise<void>;
  /** What became of a job. A job that is not known never begins after this, though its call may still be on its way. */
  refuseJob(id: string): Promise<JobFate>;
  /**
   * Queue a migration, and return. The outcome comes as an event. A migration that has not begun when the daemon ends has failed.
   * Idempotent by migrationId.
   */
  migrate(request: MigrateRequest): Promise<void>;
  /** Stop a migration that has not passed its commit point. @throws OPERATION_NOT_ALLOWED after it */
  cancel(migrationId: string): Promise<void>;
  /** How a migration of this source ended; undefined while it runs. */
  outcome(migrationId: string): Promise<MigrationOutcome | undefined>;
  /** Mark a copy that may run beside another as in doubt: it is paused, and refuses to run. Fine where there is no copy. */
  doubt(uuid: string, reason: string): Promise<void>;
  /**
   * Settle a copy that is in doubt by an operator's word, which is durable when this resolves: the copy goes on `here`, or is destroyed as
   * the VM runs `elsewhere` or nowhere. After `elsewhere` no earlier attempt brings the VM to this host any more; that is fine where there
   * is no copy.
   * @throws OPERATION_NOT_ALLOWED where the VM runs here and is not in doubt, or `here` finds no copy
   */
  forceSettlement(uuid: string, runs: RunsWhere): Promise<void>;
  /** Assert that VM.receive would begin. @throws TOO_BUSY until it is the migration's turn, which is kept for some seconds */
  assertTurn(migrationId: string, uuid: string): Promise<void>;
  receive(request: ReceiveRequest): Promise<ReceiveReply>;
  /** What became of a migration to this host. */
  received(migrationId: string): Promise<Fate>;
  /** What became of a migration of a VM, as `received` says; a migration that the host does not know is refused from then on. */
  refuseUnknown(migrationId: string, uuid: string): Promise<Fate>;
  /** Let the host forget a migration, whose outcome is in the coordinator's records. */
  noted(migrationId: string): Promise<void>;
  /** The local SRs and their volumes. */
  readonly storage: HostStorage;
  /**
   * A function of a plugin of the host: `fault`, or `domains`, which is the coordinator's alone. @returns what it answers, as text
   * @throws XENAPI_MISSING_PLUGIN, and what the function throws
   */
  callPlugin(plugin: string, fn: string, args: Readonly<Record<string, string>>): Promise<string>;
  /** Events after the number `since`, oldest first; waits up to `timeoutSeconds` for one. `next` is `since` of the next call. */
  events(since: number, timeoutSeconds: number): Promise<{ events: HostEvent[]; next: number }>;
}
