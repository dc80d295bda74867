/**
 * The rows of every class, in memory: indexes, back references, and the generations from which events are computed. Rows are
 * replaced, never changed in place, so a record that was read stays as it was.
 */
import { type ClassName, classes, type Ref } from '../../idl/index.js';
import { relations } from './relations.js';

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

export type ChangeListener = (cls: ClassName, ref: Ref) => void;

interface Tombstone {
  readonly class: ClassName;
  readonly ref: Ref;
  readonly created: number;
  readonly deleted: number;
}

/** Deletions that are remembered for events; whoever is further behind sees it in valid_ref_counts. */
const keptTombstones = 10_000;

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
  changes(since: number, wanted: (cls: ClassName) => boolean): Change[];
  generation(): number;
  /** Called at once with each row that is added, changed or removed. @returns stops it */
  onChange(listener: ChangeListener): () => void;
}

/** @param firstGeneration greater than any generation given out before */
export function createRows(firstGeneration: number): Rows {
  const tables = new Map<ClassName, Map<Ref, Row>>();
  const uuids = new Map<string, Ref>();
  const names = new Map<string, Set<Ref>>();
  const listeners = new Set<ChangeListener>();
  let tombstones: Tombstone[] = [];
  let generation = firstGeneration;

  for (const name of Object.keys(classes) as ClassName[]) tables.set(name, new Map());
  const table = (cls: ClassName): Map<Ref, Row> => tables.get(cls) as Map<Ref, Row>;

  const index = (cls: ClassName, row: Row): void => {
    uuids.set(`${cls} ${row.record.uuid}`, row.ref);
    const key = `${cls} ${row.record.name_label}`;
    const refs = names.get(key);
    if (refs === undefined) names.set(key, new Set([row.ref]));
    else refs.add(row.ref);
  };
  const unindex = (cls: ClassName, row: Row): void => {
    uuids.delete(`${cls} ${row.record.uuid}`);
    const key = `${cls} ${row.record.name_label}`;
    const refs = names.get(key);
    refs?.delete(row.ref);
    if (refs?.size === 0) names.delete(key);
  };
  const put = (cls: ClassName, row: Row): void => {
    const old = table(cls).get(row.ref);
    if (old !== undefined) unindex(cls, old);
    table(cls).set(row.ref, row);
    index(cls, row);
  };
  const tell = (cls: ClassName, ref: Ref): void => {
    for (const listener of [...listeners]) listener(cls, ref);
  };
  const replace = (cls: ClassName, row: Row, fields: Fields): void => {
    generation += 1;
    put(cls, { ...row, record: Object.freeze({ ...row.record, ...fields }), modified: generation });
    tell(cls, row.ref);
  };
  /** Bring the sets that mirror a row's references from `before` to `after`. */
  const mirror = (cls: ClassName, ref: Ref, before: Fields, after: Fields): void => {
    for (const { from, field, to, set } of relations) {
      if (from !== cls || before[field] === after[field]) continue;
      const left = table(to).get(before[field] as Ref);
      if (left !== undefined) replace(to, left, { [set]: (left.record[set] as Ref[]).filter((r) => r !== ref) });
      const joined = table(to).get(after[field] as Ref);
      if (joined !== undefined) replace(to, joined, { [set]: [...(joined.record[set] as Ref[]), ref] });
    }
  };
  const relate = (): void => {
    for (const { from, field, to, set } of relations) {
      const members = new Map<unknown, Ref[]>();
      for (const row of table(from).values()) {
        const list = members.get(row.record[field]);
        if (list === undefined) members.set(row.record[field], [row.ref]);
        else list.push(row.ref);
      }
      for (const row of table(to).values()) {
        table(to).set(row.ref, { ...row, record: Object.freeze({ ...row.record, [set]: members.get(row.ref) ?? [] }) });
      }
    }
  };

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
      tell(cls, ref);
      mirror(cls, ref, {}, record);
    },
    patch(cls, ref, fields) {
      const row = table(cls).get(ref);
      if (row === undefined) return;
      replace(cls, row, fields);
      mirror(cls, ref, row.record, { ...row.record, ...fields });
    },
    remove(cls, ref) {
      const row = table(cls).get(ref);
      if (row === undefined) return;
      unindex(cls, row);
      table(cls).delete(ref);
      generation += 1;
      tombstones.push({ class: cls, ref, created: row.created, deleted: generation });
      if (tombstones.length > 2 * keptTombstones) tombstones = tombstones.slice(-keptTombstones);
      tell(cls, ref);
      mirror(cls, ref, row.record, {});
    },
    changes(since, wanted) {
      const added: Change[] = [];
      const changed: Change[] = [];
      for (const [cls, rows] of tables) {
        if (!wanted(cls)) continue;
        for (const { ref, record, created, modified } of rows.values()) {
          if (created > since) added.push({ operation: 'add', class: cls, ref, generation: modified, record });
          else if (modified > since) changed.push({ operation: 'mod', class: cls, ref, generation: modified, record });
        }
      }
      const deleted = tombstones
        .filter((t) => t.deleted > since && t.created <= since && wanted(t.class))
        .map((t): Change => ({ operation: 'del', class: t.class, ref: t.ref, generation: t.deleted }));
      const byGeneration = (a: Change, b: Change): number => a.generation - b.generation;
      return [...added.sort(byGeneration), ...changed.sort(byGeneration), ...deleted];
    },
    generation: () => generation,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
