/** What has changed in this run of the daemon, in the order of the generations, from which events are computed. */
import type { ClassName, Ref } from '../../../idl/index.js';
import type { Change, Row } from './row.js';

interface Logged {
  readonly class: ClassName;
  readonly ref: Ref;
  readonly generation: number;
}

interface Tombstone {
  readonly class: ClassName;
  readonly ref: Ref;
  readonly created: number;
  readonly deleted: number;
}

/** Deletions that are remembered for events; whoever is further behind sees it in valid_ref_counts. */
const keptTombstones = 10_000;

/** How many outdated entries the log of changes may have before it is cleaned. */
const outdatedLimit = 10_000;

export interface ChangeLog {
  /** Note that a row was made or changed, in the newest generation. */
  change(cls: ClassName, ref: Ref, generation: number): void;
  /** Note that a row is gone, in the newest generation. */
  deletion(cls: ClassName, row: Row, generation: number): void;
  /** The rows of the wanted classes that were made or changed after a generation, in the order of their last changes. */
  changedSince(since: number, wanted: (cls: ClassName) => boolean): Iterable<[ClassName, Row]>;
  /** The rows of the wanted classes that were there in a generation, and are gone. */
  deletedSince(since: number, wanted: (cls: ClassName) => boolean): Change[];
}

/**
 * @param find a row as it is now
 */
export function createChangeLog(find: (cls: ClassName, ref: Ref) => Row | undefined): ChangeLog {
  /** The newest change of each row that has changed in this run, oldest first, among outdated ones. */
  let log: Logged[] = [];
  /** How many entries were left when the log was cleaned last. */
  let current = 0;
  let tombstones: Tombstone[] = [];
  const isCurrent = (entry: Logged): boolean => find(entry.class, entry.ref)?.modified === entry.generation;
  return {
    change(cls, ref, generation) {
      log.push({ class: cls, ref, generation });
      if (log.length <= 2 * current + outdatedLimit) return;
      log = log.filter(isCurrent);
      current = log.length;
    },
    deletion(cls, { ref, created }, generation) {
      tombstones.push({ class: cls, ref, created, deleted: generation });
      if (tombstones.length > 2 * keptTombstones) tombstones = tombstones.slice(-keptTombstones);
    },
    *changedSince(since, wanted) {
      for (let i = firstAfter(log, since, (entry) => entry.generation); i < log.length; i++) {
        const entry = log[i] as Logged;
        if (!wanted(entry.class) || !isCurrent(entry)) continue;
        yield [entry.class, find(entry.class, entry.ref) as Row];
      }
    },
    deletedSince: (since, wanted) =>
      tombstones
        .slice(firstAfter(tombstones, since, ({ deleted }) => deleted))
        .filter((each) => each.created <= since && wanted(each.class))
        .map((each) => ({ operation: 'del', class: each.class, ref: each.ref, generation: each.deleted })),
  };
}

/** The index of the first item, of items in the order of their numbers, whose number is greater. */
function firstAfter<T>(items: readonly T[], number: number, numberOf: (item: T) => number): number {
  let [low, high] = [0, items.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numberOf(items[middle] as T) > number) high = middle;
    else low = middle + 1;
  }
  return low;
}
