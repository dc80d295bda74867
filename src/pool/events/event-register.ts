/**
 * The older way to hear of changes: a session registers for classes, and asks for what is next, again and again. While anybody
 * is registered, every change is kept until all who registered have had it, or until too much is kept: then the oldest go, and
 * whoever has not had them is told that events are lost.
 */
import type { ClassName, EventChange, Ref } from '../../../idl/index.js';
import { defined } from '../../base/defined.js';
import { XapiError } from '../../base/errors.js';
import type { Database } from '../database/database.js';
import type { Change, RowChangeKind } from '../database/row.js';
import { eventOf, nextChange, parseSubscription, type Subscription } from './event-from.js';

export interface EventQueue {
  /**
   * Add to what a session wants to hear of.
   * @param ended aborted when the session ends
   * @throws EVENT_SUBSCRIPTION_PARSE_FAILURE [subscription]
   */
  register(session: Ref<'session'>, classes: readonly string[], ended: AbortSignal): void;
  /** Take a subscription, of the same name, from what a session wants to hear of. */
  unregister(session: Ref<'session'>, classes: readonly string[]): void;
  /**
   * What has happened since the last call; waits until something has.
   * @param ended aborted when nobody waits any more; what has happened, which may be nothing, is the answer then
   * @throws SESSION_NOT_REGISTERED [session], EVENTS_LOST
   */
  next(session: Ref<'session'>, ended: AbortSignal): Promise<EventChange[]>;
}

/** How many bytes the rows in the events may have, as JSON. */
const keptBytes = 10 * 2 ** 20;
/** What an event without a row counts. */
const leastBytes = 200;

interface Listener {
  readonly names: Set<string>;
  wanted: Subscription;
  /** The generation up to which it has heard. */
  seen: number;
}

interface Kept {
  readonly change: Change;
  readonly bytes: number;
}

/**
 * Make the queue of a database's changes.
 * @param limit bytes that are kept at most
 */
export function createEventQueue(db: Database, limit = keptBytes): EventQueue {
  const listeners = new Map<Ref<'session'>, Listener>();
  const queue = createQueue(limit);
  let stop: (() => void) | undefined;

  /** Forget what everybody has had; with nobody left, listen no more. */
  const trim = (): void => {
    if (listeners.size === 0) {
      stop?.();
      stop = undefined;
    }
    queue.dropUpTo(Math.min(...[...listeners.values()].map((listener) => listener.seen)));
  };
  const follow = (): void => {
    stop ??= db.onChange((cls, ref, how) => queue.add(changeOf(db, cls, ref, how)));
  };
  const listenerOf = (session: Ref<'session'>, ended: AbortSignal): Listener => {
    const known = listeners.get(session);
    if (known !== undefined) return known;
    const listener = { names: new Set<string>(), wanted: parseSubscription([]), seen: db.generation() };
    listeners.set(session, listener);
    const forget = (): void => {
      listeners.delete(session);
      trim();
    };
    ended.addEventListener('abort', forget, { once: true });
    follow();
    return listener;
  };
  /** What is new for a listener, which has heard it then. @throws EVENTS_LOST */
  const take = (listener: Listener): EventChange[] => {
    const found = queue.after(listener.seen);
    listener.seen = db.generation();
    trim();
    if (found === undefined) throw new XapiError('EVENTS_LOST');
    return found.filter((change) => listener.wanted.covers(change.class, change.ref)).map(eventOf);
  };

  return {
    register(session, classes, ended) {
      parseSubscription(classes);
      const listener = listenerOf(session, ended);
      for (const name of classes) listener.names.add(sameName(name));
      listener.wanted = parseSubscription([...listener.names]);
    },
    unregister(session, classes) {
      const listener = listeners.get(session);
      if (listener === undefined) return;
      for (const name of classes) listener.names.delete(sameName(name));
      listener.wanted = parseSubscription([...listener.names]);
    },
    async next(session, ended) {
      for (;;) {
        const listener = listeners.get(session);
        if (listener === undefined || listener.names.size === 0) {
          if (ended.aborted) return [];
          throw new XapiError('SESSION_NOT_REGISTERED', [session]);
        }
        const found = take(listener);
        if (found.length > 0 || ended.aborted) return found;
        await nextChange(db, listener.wanted, ended);
      }
    },
  };
}

/** Changes in the order of their generations, up to so many bytes; beyond them the older half goes. */
function createQueue(limit: number) {
  const queue: Kept[] = [];
  let bytes = 0;
  /** The generation of the newest change that was dropped before everybody had it. */
  let dropped = 0;
  const drop = (count: number): void => {
    for (const kept of queue.splice(0, count)) bytes -= kept.bytes;
  };
  return {
    add(change: Change): void {
      const size = leastBytes + (change.record === undefined ? 0 : JSON.stringify(change.record).length);
      queue.push({ change, bytes: size });
      bytes += size;
      if (bytes <= limit) return;
      let count = 0;
      for (let left = bytes; left > limit / 2 && count < queue.length; count++) left -= (queue[count] as Kept).bytes;
      dropped = (queue[count - 1] as Kept).change.generation;
      drop(count);
    },
    dropUpTo(generation: number): void {
      const first = queue.findIndex(({ change }) => change.generation > generation);
      drop(first === -1 ? queue.length : first);
    },
    /**
     * @returns undefined where some of them were dropped
     */
    after: (generation: number): Change[] | undefined =>
      generation < dropped
        ? undefined
        : queue.map(({ change }) => change).filter((change) => change.generation > generation),
  };
}

function changeOf(db: Database, cls: ClassName, ref: Ref, how: RowChangeKind): Change {
  const record = db.find(cls, ref as Ref<ClassName>);
  return defined({ operation: operationOf(how), class: cls, ref, generation: db.generation(), record });
}

function operationOf(change: RowChangeKind): Change['operation'] {
  return change === 'mirror' ? 'mod' : change;
}

/** Classes are meant in any case, references are not. */
function sameName(name: string): string {
  const [cls = '', ...rest] = name.split('/');
  return [cls.toLowerCase(), ...rest].join('/');
}
