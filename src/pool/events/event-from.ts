/**
 * Events, computed from the rows: whoever asks names the generation that it has seen, in a token, and gets what became of
 * each object since. Nothing is queued for anybody. Waiting is on changes, not by polling.
 */
import { type ClassName, classes, type EventBatch, type EventChange, type Ref } from '../../../idl/index.js';
import { defined } from '../../base/defined.js';
import { XapiError } from '../../base/errors.js';
import type { Database } from '../database/database.js';
import type { Change } from '../database/row.js';

interface FromRequest {
  readonly classes: readonly string[];
  readonly token: string;
  readonly timeoutSeconds: number;
  /** Aborted when nobody waits for the answer any more: the caller is gone, or its session is. */
  readonly ended: AbortSignal;
}

export interface Events {
  /**
   * What changed since the token; waits for it where nothing did, until the timeout, and gives an empty batch then.
   * @throws EVENT_FROM_TOKEN_PARSE_FAILURE [token], EVENT_SUBSCRIPTION_PARSE_FAILURE [subscription]
   */
  from(request: FromRequest): Promise<EventBatch>;
  /**
   * Count an object as changed.
   * @returns a token from just before.
   * @throws HANDLE_INVALID
   */
  inject(cls: string, ref: Ref): string;
  currentId(): number;
}

/** The longest wait that a timer of Node can hold, in seconds. */
const longestWait = 2 ** 31 / 1000 - 1;

/** How long a batch waits for further changes, in milliseconds: one seldom comes alone. */
const gatherMs = 20;

const databaseClasses = (Object.keys(classes) as ClassName[]).filter((c) => classes[c].inDatabase);

/** Make the events of a database. */
export function createEvents(db: Database): Events {
  const batch = (wanted: Subscription, since: number): EventBatch => ({
    events: db
      .changes(since, wanted.coversClass)
      .filter((change) => wanted.covers(change.class, change.ref))
      .map(eventOf),
    valid_ref_counts: Object.fromEntries(databaseClasses.map((cls) => [cls.toLowerCase(), db.count(cls)])),
    token: encodeToken(db.generation()),
  });

  return {
    async from({ classes: names, token, timeoutSeconds, ended }) {
      const wanted = parseSubscription(names);
      const since = decodeToken(token);
      const deadline = performance.now() + Math.min(Math.max(timeoutSeconds || 0, 0), longestWait) * 1000;
      for (;;) {
        const found = batch(wanted, since);
        const left = deadline - performance.now();
        if (found.events.length > 0 || left <= 0 || ended.aborted) return found;
        await nextChange(db, wanted, ended, left);
      }
    },
    inject(cls, ref) {
      if (!Object.hasOwn(classes, cls)) throw new XapiError('HANDLE_INVALID', [cls, ref]);
      const token = encodeToken(db.generation());
      db.touch(cls as ClassName, ref);
      return token;
    },
    currentId: db.generation,
  };
}

/** Wait for a change that is wanted or for the end of the call, and where it is given for so many milliseconds at most. */
export function nextChange(
  db: Database,
  wanted: Subscription,
  ended: AbortSignal,
  milliseconds?: number,
): Promise<void> {
  return new Promise((resolve) => {
    const done = (wait: number): void => {
      clearTimeout(timer);
      stop();
      ended.removeEventListener('abort', end);
      setTimeout(resolve, wait);
    };
    const end = (): void => done(0);
    const timer = milliseconds === undefined ? undefined : setTimeout(end, milliseconds);
    const stop = db.onChange((cls, ref) => {
      if (wanted.covers(cls, ref)) done(gatherMs);
    });
    if (ended.aborted) end();
    else ended.addEventListener('abort', end, { once: true });
  });
}

/** What somebody wants to hear of. */
export interface Subscription {
  coversClass(cls: ClassName): boolean;
  covers(cls: ClassName, ref: Ref): boolean;
}

/**
 * `*`, a class in any case, `class/reference`. A class that does not exist has no events, and is no error.
 * @throws EVENT_SUBSCRIPTION_PARSE_FAILURE [subscription]
 */
export function parseSubscription(names: readonly string[]): Subscription {
  let everything = false;
  const whole = new Set<string>();
  const single = new Map<string, Set<string>>();
  for (const name of names) {
    const [cls = '', ref, ...more] = name.split('/');
    if (cls === '' || ref === '' || more.length > 0) throw new XapiError('EVENT_SUBSCRIPTION_PARSE_FAILURE', [name]);
    if (name === '*') everything = true;
    else if (ref === undefined) whole.add(cls.toLowerCase());
    else single.set(cls.toLowerCase(), (single.get(cls.toLowerCase()) ?? new Set()).add(ref));
  }
  const entire = (cls: ClassName): boolean => classes[cls].events && (everything || whole.has(cls.toLowerCase()));
  return {
    coversClass: (cls) => entire(cls) || (classes[cls].events && single.has(cls.toLowerCase())),
    covers: (cls, ref) => entire(cls) || (classes[cls].events && (single.get(cls.toLowerCase())?.has(ref) ?? false)),
  };
}

/** A change as clients are told of it. */
export function eventOf(change: Change): EventChange {
  return defined({
    id: String(change.generation),
    timestamp: '0.0',
    class: change.class.toLowerCase(),
    operation: change.operation,
    ref: change.ref,
    snapshot: change.record,
  }) as EventChange;
}

/** Two numbers of 20 digits, so that tokens sort as strings; the first counts messages in xapi, which are rows like others here. */
function encodeToken(generation: number): string {
  return `${'0'.repeat(20)},${String(generation).padStart(20, '0')}`;
}

/**
 * @returns the generation that the token's holder has seen; 0 for the empty one
 */
function decodeToken(token: string): number {
  if (token === '') return 0;
  const match = /^-?\d+,(-?\d+)$/.exec(token);
  if (match === null) throw new XapiError('EVENT_FROM_TOKEN_PARSE_FAILURE', [token]);
  return Number(match[1]);
}
