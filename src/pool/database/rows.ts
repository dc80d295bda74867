/**
 * The rows of every class, in memory: indexes, back references, and the generations from which events are computed. Rows are
 * replaced, never changed in place, so a record that was read stays as it was.
 */
import { type ClassName, classes, type Ref } from '../../../idl/index.js';
import { type Relation, relationsFrom, relationsTo } from './relations.js';

export type Fields = Readonly<Record<string, unknown>>;

export interface Row {
  readonly ref: Ref;
  readonly record: Fields;
  /** The generation in which it was made. */
  readonly created: number;
  /** The generation of its last change. */
  readonly modified: number;
}

/** What became of an object since some generation, changes in between taken together. */
export interface Change {
  readonly operation: 'add' | 'mod' | 'del';
  readonly class: ClassName;
  readonly ref: Ref;
  readonly generation: number;
  /** Absent on `del`. */
  readonly record?: Fields;
}

/** What happened to a row; `mirror` is a change of nothing but back references. */
export type RowChangeKind = 'add' | 'mod' | 'mirror' | 'del';

export type ChangeListener = (cls: ClassName, ref: Ref, change: RowChangeKind) => void;

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

export interface Rows {
  find(cls: ClassName, ref: Ref): Row | undefined;
  all(cls: ClassName): IterableIterator<Row>;
  count(cls: ClassName): number;
  byUuid(cls: ClassName, uuid: string): Ref | undefined;
  byName(cls: ClassName, name: string): Ref[];
  /** Put back rows of an earlier run, without a change. */
  restore(cls: ClassName, rows: Iterable<Row>): void;
  /** Fill every back reference from the fields that it mirrors; after `restore`. */
  relate(): void;
  insert(cls: ClassName, ref: Ref, record: Fields): void;
  /** Change fields of a row that is there. */
  patch(cls: ClassName, ref: Ref, fields: Fields): void;
  remove(cls: ClassName, ref: Ref): void;
  /** What became of the objects of the wanted classes; of every one where `since` is of another run of the daemon. */
  changes(since: number, wanted: (cls: ClassName) => boolean): Change[];
  generation(): number;
  /** Called with each row that is added, changed or removed, once the back references are right again. @returns stops it */
  onChange(listener: ChangeListener): () => void;
}

/** What references each target, by the target. */
function membersOf(table: (cls: ClassName) => Map<Ref, Row>, { from, field }: Relation): Map<unknown, Ref[]> {
  const members = new Map<unknown, Ref[]>();
  for (const { ref, record } of table(from).values()) {
    const list = members.get(record[field]);
    if (list === undefined) members.set(record[field], [ref]);
    else list.push(ref);
  }
  return members;
}

function without(refs: readonly Ref[], ref: Ref): Ref[] {
  return refs.filter((each) => each !== ref);
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

/** @param firstGeneration greater than any generation given out before */
export function createRows(firstGeneration: number): Rows {
  const tables = new Map<ClassName, Map<Ref, Row>>();
  const uuids = new Map<string, Ref>();
  const names = new Map<string, Set<Ref>>();
  const listeners = new Set<ChangeListener>();
  let tombstones: Tombstone[] = [];
  /** Changes that nobody has heard of yet. */
  let untold: Parameters<ChangeListener>[] = [];
  /** The newest change of each row that has changed in this run, oldest first, among outdated ones. */
  let log: Logged[] = [];
  let current = 0;
  let generation = firstGeneration;

  for (const name of Object.keys(classes) as ClassName[]) tables.set(name, new Map());
  const table = (cls: ClassName): Map<Ref, Row> => tables.get(cls) as Map<Ref, Row>;

  const index = (cls: ClassName, { ref, record }: Row): void => {
    uuids.set(`${cls} ${record.uuid}`, ref);
    if (record.name_label === undefined) return;
    const key = `${cls} ${record.name_label}`;
    const refs = names.get(key);
    if (refs === undefined) names.set(key, new Set([ref]));
    else refs.add(ref);
  };
  const unindex = (cls: ClassName, { ref, record }: Row): void => {
    uuids.delete(`${cls} ${record.uuid}`);
    const key = `${cls} ${record.name_label}`;
    const refs = names.get(key);
    refs?.delete(ref);
    if (refs?.size === 0) names.delete(key);
  };
  const put = (cls: ClassName, row: Row): void => {
    const old = table(cls).get(row.ref);
    table(cls).set(row.ref, row);
    if (old?.record.uuid === row.record.uuid && old?.record.name_label === row.record.name_label) return;
    if (old !== undefined) unindex(cls, old);
    index(cls, row);
  };
  const isCurrent = (entry: Logged): boolean => table(entry.class).get(entry.ref)?.modified === entry.generation;
  /** The row has its place at the end of the log, and whoever listens is to be told. */
  const note = (cls: ClassName, ref: Ref, change: RowChangeKind): void => {
    if (change !== 'del') log.push({ class: cls, ref, generation });
    if (log.length > 2 * current + outdatedLimit) {
      log = log.filter(isCurrent);
      current = log.length;
    }
    untold.push([cls, ref, change]);
  };
  const tell = (): void => {
    const changes = untold;
    untold = [];
    for (const change of changes) for (const listener of [...listeners]) listener(...change);
  };
  const replace = (cls: ClassName, row: Row, fields: Fields, change: RowChangeKind): void => {
    generation += 1;
    put(cls, { ...row, record: Object.freeze({ ...row.record, ...fields }), modified: generation });
    note(cls, row.ref, change);
  };
  /** Bring the sets that mirror a row's references from `before` to `after`. */
  const mirror = (cls: ClassName, ref: Ref, before: Fields, after: Fields): void => {
    for (const { field, to, set } of relationsFrom(cls)) {
      if (before[field] === after[field]) continue;
      const left = table(to).get(before[field] as Ref);
      if (left !== undefined) replace(to, left, { [set]: without(left.record[set] as Ref[], ref) }, 'mirror');
      const joined = table(to).get(after[field] as Ref);
      if (joined !== undefined) replace(to, joined, { [set]: [...(joined.record[set] as Ref[]), ref] }, 'mirror');
    }
  };
  const relate = (): void => {
    for (const [cls, rows] of tables) {
      const sets = relationsTo(cls).map((relation) => ({ set: relation.set, members: membersOf(table, relation) }));
      if (sets.length === 0) continue;
      for (const row of rows.values()) {
        const record: Record<string, unknown> = { ...row.record };
        for (const { set, members } of sets) record[set] = members.get(row.ref) ?? [];
        rows.set(row.ref, { ...row, record: Object.freeze(record) });
      }
    }
  };
  const changedSince = function* (since: number, wanted: (cls: ClassName) => boolean): Iterable<[ClassName, Row]> {
    for (let i = firstAfter(log, since, (entry) => entry.generation); i < log.length; i++) {
      const entry = log[i] as Logged;
      if (!wanted(entry.class) || !isCurrent(entry)) continue;
      yield [entry.class, table(entry.class).get(entry.ref) as Row];
    }
  };
  const everyRow = (wanted: (cls: ClassName) => boolean): [ClassName, Row][] =>
    [...tables]
      .filter(([cls]) => wanted(cls))
      .flatMap(([cls, rows]) => [...rows.values()].map((row): [ClassName, Row] => [cls, row]))
      .sort(([, a], [, b]) => a.modified - b.modified);

  return {
    find: (cls, ref) => table(cls).get(ref),
    all: (cls) => table(cls).values(),
    count: (cls) => table(cls).size,
    byUuid: (cls, uuid) => uuids.get(`${cls} ${uuid}`),
    byName: (cls, name) => [...(names.get(`${cls} ${name}`) ?? [])],
    restore(cls, rows) {
      for (const row of rows) put(cls, row);
    },
    relate,
    insert(cls, ref, record) {
      generation += 1;
      put(cls, { ref, record: Object.freeze(record), created: generation, modified: generation });
      note(cls, ref, 'add');
      mirror(cls, ref, {}, record);
      tell();
    },
    patch(cls, ref, fields) {
      const row = table(cls).get(ref);
      if (row === undefined) return;
      replace(cls, row, fields, 'mod');
      mirror(cls, ref, row.record, { ...row.record, ...fields });
      tell();
    },
    remove(cls, ref) {
      const row = table(cls).get(ref);
      if (row === undefined) return;
      unindex(cls, row);
      table(cls).delete(ref);
      generation += 1;
      tombstones.push({ class: cls, ref, created: row.created, deleted: generation });
      if (tombstones.length > 2 * keptTombstones) tombstones = tombstones.slice(-keptTombstones);
      note(cls, ref, 'del');
      mirror(cls, ref, row.record, {});
      tell();
    },
    changes(since, wanted) {
      const known = since >= firstGeneration && since <= generation;
      const rows = known ? changedSince(since, wanted) : everyRow(wanted);
      const added: Change[] = [];
      const changed: Change[] = [];
      for (const [cls, { ref, record, created, modified }] of rows) {
        if (created > since) added.push({ operation: 'add', class: cls, ref, generation: modified, record });
        else changed.push({ operation: 'mod', class: cls, ref, generation: modified, record });
      }
      const deleted = tombstones
        .slice(firstAfter(tombstones, since, (t) => t.deleted))
        .filter((t) => t.created <= since && wanted(t.class))
        .map((t): Change => ({ operation: 'del', class: t.class, ref: t.ref, generation: t.deleted }));
      return [...added, ...changed, ...deleted];
    },
    generation: () => generation,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
