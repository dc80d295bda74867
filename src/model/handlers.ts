/**
 * The contract between the XenAPI's front and what implements its messages; types alone.
 *
 * `Handlers` follows from the model: one function for each message that has a `doc`, so a missing, surplus or wrong one does
 * not compile. Generic messages (getters, setters, get_record and the like) need none: the front answers them from the rows.
 */
import type { Classes, ClassName, ParamModel, Ref, TypeOf } from '../../idl/index.js';
import type { Log } from '../base/log.js';

/** The task of a call, as its handler sees it. */
export interface CallTask {
  /** The null reference where the call makes no task. */
  readonly ref: Ref<'task'>;
  /** Aborted when the task is asked to stop. A handler that has stopped for it throws TASK_CANCELLED [ref]. */
  readonly signal: AbortSignal;
  /** @param progress 0 to 1 */
  setProgress(progress: number): void;
  /** Set some keys of other_config, whatever they were, in one change; none where nothing is new. */
  putOtherConfig(entries: Readonly<Record<string, string>>): void;
  /** Whether task.cancel is allowed now; a task starts as not cancellable. */
  setCancellable(cancellable: boolean): void;
  /** What becomes of the request to stop: task.cancel waits for it, though not for long, and throws what it throws. */
  answerCancel(answer: Promise<void>): void;
}

/** Whom a call comes from. */
export interface CallOrigin {
  /** The caller's address. */
  readonly address: string;
  readonly userAgent: string;
  /** The origin of the web page whose browser calls, where such a page may not log in. */
  readonly foreignPage?: string | undefined;
  /** Aborted when the caller's connection has ended; what waits for the caller alone ends then. */
  readonly closed: AbortSignal;
}

export interface CallContext {
  /** Session; absent for the messages that take none. */
  readonly session?: Ref<'session'>;
  readonly task: CallTask;
  /** Marks each record with the call and its task. */
  readonly log: Log;
  readonly origin: CallOrigin;
}

type ParamTypes<P extends readonly ParamModel[]> = {
  -readonly [I in keyof P]: P[I] extends { readonly type: infer T extends string } ? TypeOf<T> : never;
};

interface Signature {
  readonly params: readonly ParamModel[];
  readonly result: string;
}

/**
 * What implements one message. Parameters come typed and complete: defaults filled in, records with every field. Absent
 * fields of a record have the field's default, or their type's zero: '', 0, false, the first of the enumeration, never,
 * the null reference, empty.
 */
type Handler<M extends Signature> = (
  context: CallContext,
  ...params: ParamTypes<M['params']>
) => TypeOf<M['result']> | Promise<TypeOf<M['result']>>;

/** The handlers of one class. */
export type ClassHandlers<C extends ClassName> = {
  readonly [M in keyof Classes[C]['messages'] as Classes[C]['messages'][M] extends { readonly doc: string }
    ? M
    : never]: Classes[C]['messages'][M] extends Signature ? Handler<Classes[C]['messages'][M]> : never;
};

/** Every class that has an implemented message, with its handlers. */
export type Handlers = {
  readonly [C in ClassName as keyof ClassHandlers<C> extends never ? never : C]: ClassHandlers<C>;
};
