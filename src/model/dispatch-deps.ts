/**
 * What the XenAPI's front needs from the layer that holds the database, the sessions and the tasks; types alone.
 */
import type { ClassName, Ref, Role } from '../../idl/index.js';
import type { XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { CallTask, Handlers } from './handlers.js';

/** A row as its class's record. */
export type Row = Readonly<Record<string, unknown>>;

/**
 * Generic access to the rows of every class that is in the database. `cls` and `field` are from the model, values of the
 * field's type; references may be anything a caller sent. Where a reference names no row: HANDLE_INVALID [cls, ref].
 */
export interface Rows {
  /** @throws HANDLE_INVALID */
  record(cls: ClassName, ref: string): Row;
  /** @throws UUID_INVALID [cls, uuid] */
  byUuid(cls: ClassName, uuid: string): Ref;
  byNameLabel(cls: ClassName, label: string): Ref[];
  /** Every row of the class with its reference. */
  all(cls: ClassName): Iterable<readonly [Ref, Row]>;
  /**
   * Replace the value of a field.
   * @throws HANDLE_INVALID
   */
  set(cls: ClassName, ref: string, field: string, value: unknown): void | Promise<void>;
  /**
   * Add a key to a map.
   * @throws HANDLE_INVALID, MAP_DUPLICATE_KEY [cls, field, ref, key] where it is there
   */
  addToMap(cls: ClassName, ref: string, field: string, key: string, value: unknown): void | Promise<void>;
  /**
   * Remove a key from a map; fine where it is absent.
   * @throws HANDLE_INVALID
   */
  removeFromMap(cls: ClassName, ref: string, field: string, key: string): void | Promise<void>;
  /**
   * Add to a set; fine where it is there.
   * @throws HANDLE_INVALID
   */
  addToSet(cls: ClassName, ref: string, field: string, value: unknown): void | Promise<void>;
  /**
   * Remove from a set; fine where it is absent.
   * @throws HANDLE_INVALID
   */
  removeFromSet(cls: ClassName, ref: string, field: string, value: unknown): void | Promise<void>;
}

/** Identity of a valid session. */
export interface SessionIdentity {
  readonly ref: Ref<'session'>;
  /** Passes every role check: the local superuser, and the pool's own. */
  readonly isLocalSuperuser: boolean;
  readonly roles: readonly Role[];
  /**
   * Of a session with a purpose of its own: all that it may send, in lower case, whatever roles may. It makes no task
   * that outlives a call.
   */
  readonly permissions?: ReadonlySet<string>;
}

export interface Sessions {
  /** The session, marked as active now; undefined where there is none by that reference. */
  use(ref: string): SessionIdentity | undefined;
}

/** The task of one call, as the front drives it. Exactly one of succeed and fail is called, once. */
export interface OpenTask extends CallTask {
  /** @param result XML fragment, as `task.result` has it: `<value>OpaqueRef:..</value>`, void `<value></value>` */
  succeed(result: string): void;
  /** TASK_CANCELLED ends the task as cancelled, every other code as failed. */
  fail(error: XapiError): void;
  /** Delete the row of a task that has ended: a synchronous call's own. */
  destroy(): void;
}

export interface Tasks {
  /** @param label the full name of the call, with its prefix */
  create(label: string, session: Ref<'session'> | undefined): OpenTask;
  /**
   * End a task that its caller made for what goes on beside calls; fine where there is none, or it has ended.
   * @param error with which it failed; it has succeeded without one
   */
  end(ref: string, error?: XapiError): void;
}

export interface DispatchDeps {
  readonly rows: Rows;
  readonly sessions: Sessions;
  readonly tasks: Tasks;
  readonly handlers: Handlers;
  readonly log: Log;
  /** The coordinator's address where this host is a member; undefined on the coordinator. */
  coordinatorAddress(): string | undefined;
  /** Whether a member answers this message (`VM.receive`) itself; every other one answers HOST_IS_SLAVE there. */
  isHostLevel(message: string): boolean;
}
