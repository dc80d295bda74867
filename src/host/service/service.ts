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
    /** Where the state is `shutdown`: how the guest has ended. Absent from an earlier version. */
    readonly ended?: GuestEnd | undefined;
    /** Why it is in doubt: it is paused then, and refuses to run. */
    readonly inDoubt?: string | undefined;
    /** Why it was paused though nobody has asked for that. Absent from an earlier version. */
    readonly stalled?: string | undefined;
  }[];
  /** The uuids of VMs that may run elsewhere: sent, past the commit point, and no outcome known. Absent from an earlier version. */
  readonly leaving?: readonly string[] | undefined;
  /** The uuids of VMs that may yet run here: announced, and neither refused nor done. Absent from an earlier version. */
  readonly arriving?: readonly string[] | undefined;
  /** The uuids of VMs whose memory is here in a suspend image. Absent from a host of an earlier version. */
  readonly suspended?: readonly string[] | undefined;
  /**
   * What is under way or waits for its VM's lane, of what the coordinator asked for: what is not in it any more shows in the rest. Absent
   * from a host of an earlier version, of which it is not known.
   */
  readonly busy?: readonly BusyJob[] | undefined;
}

/** A call with a job is refused where the job is over. */
export interface HostService {
  state(): Promise<HostState>;
  /** Create, build and unless `paused` run a domain. */
  start(spec: DomainSpec, paused: boolean, job?: Job): Promise<void>;
  pause(uuid: string, job?: Job): Promise<void>;
  unpause(uuid: string, job?: Job): Promise<void>;
  /** Clean asks the guest first. A suspend image goes as well. Fine where there is neither. */
  shutdown(uuid: string, clean: boolean, job?: Job): Promise<void>;
  /** End a domain and start it anew, as another domain. */
  reboot(spec: DomainSpec, clean: boolean, job?: Job): Promise<void>;
  /** Save a domain into a suspend image on this host; the domain goes. A failure leaves it as it was. */
  suspend(uuid: string, job?: Job): Promise<void>;
  /** Make a domain of a suspend image, which goes. A failure leaves the image. @throws VM_HAS_NO_SUSPEND_VDI */
  resume(uuid: string, paused: boolean, job?: Job): Promise<void>;
  /** What became of a job. One that is not known never begins after this, though its call may still be on its way. */
  refuseJob(id: string): Promise<JobFate>;
  /** Queue a migration; returns then. One that has not begun when the daemon ends has failed. Idempotent by migrationId. Its end comes as an event. */
  migrate(request: MigrateRequest): Promise<void>;
  /** Stop a migration that has not passed its commit point. @throws OPERATION_NOT_ALLOWED after it */
  cancel(migrationId: string): Promise<void>;
  /** How a migration of this source ended; undefined while it runs. */
  outcome(migrationId: string): Promise<MigrationOutcome | undefined>;
  /** Pause a copy that may run beside another, and let it run no more until it is settled. Fine where there is none. */
  doubt(uuid: string, reason: string): Promise<void>;
  /**
   * An operator's word, durable here, on a copy that is in doubt: it goes on `here`, or is destroyed as the VM runs `elsewhere`, or
   * nowhere; then no attempt to migrate the VM to this host takes any more. Fine for `elsewhere` where there is nothing of the VM.
   * @throws OPERATION_NOT_ALLOWED where the VM runs here and is not in doubt, or `here` finds no copy
   */
  forceSettlement(uuid: string, runs: RunsWhere): Promise<void>;
  /** Whether `receive` would find the host too busy. @throws TOO_BUSY until it is the migration's turn, which is kept for some seconds */
  assertTurn(migrationId: string, uuid: string): Promise<void>;
  receive(request: ReceiveRequest): Promise<ReceiveReply>;
  /** What became of a migration to this host. */
  received(migrationId: string): Promise<Fate>;
  /** The same, of a migration of the VM with this uuid; one that the host does not know is refused from then on. */
  refuseUnknown(migrationId: string, uuid: string): Promise<Fate>;
  /** What became of it is in the records: the host may forget it. */
  noted(migrationId: string): Promise<void>;
  /** The local SRs and their volumes. */
  readonly storage: HostStorage;
  /**
   * A function of a plugin of the host: `fault`, or `domains`, which is the coordinator's alone. @returns what it answers, as text
   * @throws XENAPI_MISSING_PLUGIN, and what the function throws
   */
  callPlugin(plugin: string, fn: string, args: Readonly<Record<string, string>>): Promise<string>;
  /** Events after the given number, oldest first; waits up to `timeoutSeconds` for one. `next` is for the next call. */
  events(since: number, timeoutSeconds: number): Promise<{ events: HostEvent[]; next: number }>;
}
