/**
 * The rows of every class, in memory: indexes, back references, and the generations from which events are computed. Rows are
 * replaced, never changed in place, so a record that was read stays as it was.
 */
import { type ClassName, classes, type Ref } from '../../../idl/index.js';
import { createChangeLog } from './change-log.js';
import { type Relation, relationsFrom, relationsTo } from './relations.js';
import type { Change, ChangeListener, Fields, Row, RowChangeKind } from './row.js';

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
  /**
   * Called with each row that is added, changed or removed, once the back references are right again.
   * @returns stops it
   */
  onChange(listener: ChangeListener): () => void;
}

type Tables = ReadonlyMap<ClassName, Map<Ref, Row>>;

/**
 * Make the tables of every class, without a row.
 * @param firstGeneration greater than any generation given out before
 */
export function createRows(firstGeneration: number): Rows {
  const tables: Tables = new Map((Object.keys(classes) as ClassName[]).map((name) => [name, new Map()]));
  const table = (cls: ClassName): Map<Ref, Row> => tables.get(cls) as Map<Ref, Row>;
  const find = (cls: ClassName, ref: Ref): Row | undefined => table(cls).get(ref);
  const index = createIndex();
  const listeners = createListeners();
  const log = createChangeLog(find);
  let generation = firstGeneration;

  const put = (cls: ClassName, row: Row): void => {
    index.replace(cls, find(cls, row.ref), row);
    table(cls).set(row.ref, row);
  };
  /** Give a changed row its place at the end of the log, and have whoever listens told of the row. */
  const note = (cls: ClassName, ref: Ref, change: RowChangeKind): void => {
    log.change(cls, ref, generation);
    listeners.note(cls, ref, change);
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
      const left = find(to, before[field] as Ref);
      if (left !== undefined) replace(to, left, { [set]: without(left.record[set] as Ref[], ref) }, 'mirror');
      const joined = find(to, after[field] as Ref);
      if (joined !== undefined) replace(to, joined, { [set]: [...(joined.record[set] as Ref[]), ref] }, 'mirror');
    }
  };

  return {
    find,
    all: (cls) => table(cls).values(),
    count: (cls) => table(cls).size,
    byUuid: index.byUuid,
    byName: index.byName,
    restore(cls, rows) {
      for (const row of rows) put(cls, row);
    },
    relate: () => relateAll(tables),
    insert(cls, ref, record) {
      generation += 1;
      put(cls, { ref, record: Object.freeze(record), created: generation, modified: generation });
      note(cls, ref, 'add');
      mirror(cls, ref, {}, record);
      listeners.tell();
    },
    patch(cls, ref, fields) {
      const row = find(cls, ref);
      if (row === undefined) return;
      replace(cls, row, fields, 'mod');
      mirror(cls, ref, row.record, { ...row.record, ...fields });
      listeners.tell();
    },
    remove(cls, ref) {
      const row = find(cls, ref);
      if (row === undefined) return;
      index.replace(cls, row, undefined);
      table(cls).delete(ref);
      generation += 1;
      log.deletion(cls, row, generation);
      listeners.note(cls, ref, 'del');
      mirror(cls, ref, row.record, {});
      listeners.tell();
    },
    changes(since, wanted) {
      const known = since >= firstGeneration && since <= generation;
      const rows = known ? log.changedSince(since, wanted) : everyRow(tables, wanted);
      return [...changesOf(rows, since), ...log.deletedSince(since, wanted)];
    },
    generation: () => generation,
    onChange: listeners.add,
  };
}

/** What a class's rows are found by, beside their references. */
function createIndex() {
  const uuids = new Map<string, Ref>();
  const names = new Map<string, Set<Ref>>();
  const add = (cls: ClassName, { ref, record }: Row): void => {
    uuids.set(`${cls} ${record.uuid}`, ref);
    if (record.name_label === undefined) return;
    const key = `${cls} ${record.name_label}`;
    const refs = names.get(key);
    if (refs === undefined) names.set(key, new Set([ref]));
    else refs.add(ref);
  };
  const remove = (cls: ClassName, { ref, record }: Row): void => {
    uuids.delete(`${cls} ${record.uuid}`);
    const key = `${cls} ${record.name_label}`;
    const refs = names.get(key);
    refs?.delete(ref);
    if (refs?.size === 0) names.delete(key);
  };
  return {
    /** Have a row found as it is now; undefined for one that was not there, or is gone. */
    replace(cls: ClassName, old: Row | undefined, now: Row | undefined): void {
      const isSame = old?.record.uuid === now?.record.uuid && old?.record.name_label === now?.record.name_label;
      if (now !== undefined && isSame) return;
      if (old !== undefined) remove(cls, old);
      if (now !== undefined) add(cls, now);
    },
    byUuid: (cls: ClassName, uuid: string): Ref | undefined => uuids.get(`${cls} ${uuid}`),
    byName: (cls: ClassName, name: string): Ref[] => [...(names.get(`${cls} ${name}`) ?? [])],
  };
}

/** Who is told of changes: of all that belong together once the last of them is made. */
function createListeners() {
  const listeners = new Set<ChangeListener>();
  let untold: Parameters<ChangeListener>[] = [];
  return {
    note(...change: Parameters<ChangeListener>): void {
      untold.push(change);
    },
    tell(): void {
      const changes = untold;
      untold = [];
      for (const change of changes) for (const listener of [...listeners]) listener(...change);
    },
    /**
     * @returns stops it
     */
    add(listener: ChangeListener): () => void {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** Fill every back reference from the fields that it mirrors. */
function relateAll(tables: Tables): void {
  for (const [cls, rows] of tables) {
    const sets = relationsTo(cls).map((relation) => ({ set: relation.set, members: membersOf(tables, relation) }));
    if (sets.length === 0) continue;
    for (const row of rows.values()) {
      const record: Record<string, unknown> = { ...row.record };
      for (const { set, members } of sets) record[set] = members.get(row.ref) ?? [];
      rows.set(row.ref, { ...row, record: Object.freeze(record) });
    }
  }
}

/** What references each target, by the target. */
function membersOf(tables: Tables, { from, field }: Relation): Map<unknown, Ref[]> {
  const members = new Map<unknown, Ref[]>();
  for (const { ref, record } of (tables.get(from) as Map<Ref, Row>).values()) {
    const list = members.get(record[field]);
    if (list === undefined) members.set(record[field], [ref]);
    else list.push(ref);
  }
  return members;
}

function without(refs: readonly Ref[], ref: Ref): Ref[] {
  return refs.filter((each) => each !== ref);
}

/** Every row of the wanted classes, in the order of their last changes. */
function everyRow(tables: Tables, wanted: (cls: ClassName) => boolean): [ClassName, Row][] {
  return [...tables]
    .filter(([cls]) => wanted(cls))
    .flatMap(([cls, rows]) => [...rows.values()].map((row): [ClassName, Row] => [cls, row]))
    .sort(([, a], [, b]) => a.modified - b.modified);
}

/** What became of rows that are there: of those made since a generation first, then of those that have changed. */
function changesOf(rows: Iterable<[ClassName, Row]>, since: number): Change[] {
  const added: Change[] = [];
  const changed: Change[] = [];
  for (const [cls, { ref, record, created, modified }] of rows) {
    if (created > since) added.push({ operation: 'add', class: cls, ref, generation: modified, record });
    else changed.push({ operation: 'mod', class: cls, ref, generation: modified, record });
  }
  return [...added, ...changed];
}
