/**
 * The pool's database: typed access to the rows of every class, written through to the store. Reads and writes are at once
 * and in memory; `saved` says when what was written so far is durable. Sessions and tasks live in memory alone.
 */
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { type ClassName, classes, type RecordOf, type Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { RowChange, Store } from '../../base/store/store.js';
import { recordWithDefaults } from '../../model/value.js';
import { reserveGenerations, type Saving, saveChanges } from './persistence.js';
import type { Change, ChangeListener, Fields, Row } from './row.js';
import { createRows, type Rows } from './rows.js';

/** Classes whose rows end with the daemon. */
const volatileClasses: ReadonlySet<ClassName> = new Set(['session', 'task']);

/** Messages are not in xapi's database, so they have no accessors of single fields; here they are rows like others. */
function isDurable(cls: ClassName): boolean {
  return cls === 'message' || (classes[cls].inDatabase && !volatileClasses.has(cls));
}

export type RecordView<C extends ClassName> = Readonly<RecordOf<C>>;

export interface Database {
  /** @throws HANDLE_INVALID [class, ref] */
  get<C extends ClassName>(cls: C, ref: Ref<C>): RecordView<C>;
  find<C extends ClassName>(cls: C, ref: Ref<C>): RecordView<C> | undefined;
  /** Every row of a class, oldest first. */
  all<C extends ClassName>(cls: C): (readonly [Ref<C>, RecordView<C>])[];
  count(cls: ClassName): number;
  /** @throws UUID_INVALID [class, uuid] */
  byUuid<C extends ClassName>(cls: C, uuid: string): Ref<C>;
  findByUuid<C extends ClassName>(cls: C, uuid: string): Ref<C> | undefined;
  byNameLabel<C extends ClassName>(cls: C, label: string): Ref<C>[];
  /** Make a row: what is given, defaults for the rest, a new uuid and a new reference where none is given. */
  create<C extends ClassName>(cls: C, given: Partial<RecordOf<C>>, ref?: Ref<C>): Ref<C>;
  /** Change fields; values that are there already are no change. @throws HANDLE_INVALID */
  update<C extends ClassName>(cls: C, ref: Ref<C>, patch: Partial<RecordOf<C>>): void;
  /** @throws HANDLE_INVALID */
  destroy(cls: ClassName, ref: Ref): void;
  /** @throws HANDLE_INVALID, MAP_DUPLICATE_KEY [class, field, ref, key] */
  addToMap(cls: ClassName, ref: Ref, field: string, key: string, value: unknown): void;
  /** Set one key of a map, whatever it was. @throws HANDLE_INVALID */
  putInMap(cls: ClassName, ref: Ref, field: string, key: string, value: unknown): void;
  /** Fine where the key is absent. @throws HANDLE_INVALID */
  removeFromMap(cls: ClassName, ref: Ref, field: string, key: string): void;
  /** Fine where it is there. @throws HANDLE_INVALID */
  addToSet(cls: ClassName, ref: Ref, field: string, value: unknown): void;
  /** Fine where it is absent. @throws HANDLE_INVALID */
  removeFromSet(cls: ClassName, ref: Ref, field: string, value: unknown): void;
  /** Count a row as changed without changing it. @throws HANDLE_INVALID */
  touch(cls: ClassName, ref: Ref): void;
  /** The number of the newest change. */
  generation(): number;
  /** The number of a row's last change. @throws HANDLE_INVALID */
  modified(cls: ClassName, ref: Ref): number;
  /** What became of the objects of the wanted classes since a generation: added, then changed, then deleted. */
  changes(since: number, wanted: (cls: ClassName) => boolean): Change[];
  /**
   * Called at once with each row that is added, changed or removed.
   * @returns stops it
   */
  onChange(listener: ChangeListener): () => void;
  /** Resolves when everything written so far is in the store. @throws OUT_OF_SPACE [path]; INTERNAL_ERROR where the store failed */
  saved(): Promise<void>;
  /** Write a change of another table in the batch of what this turn of the event loop changes: all of it or none. */
  alongside(change: RowChange): void;
}

/** Load the database from the store; an empty store gives an empty one. */
export async function openDatabase(store: Store, log: Log): Promise<Database> {
  const generations = await reserveGenerations(store);
  const rows = createRows(generations.first);
  const defaults = makeDefaults();
  for (const cls of durableClasses()) {
    const stored = [...store.table<Row>(`rows.${cls}`).entries()].map(([, row]) => thaw(defaults(cls), row));
    rows.restore(
      cls,
      stored.sort((a, b) => a.created - b.created),
    );
  }
  rows.relate();
  return database(rows, defaults, saveChanges(store, rows, generations, isDurable, log));
}

/** Remove what the store holds of a pool's rows. */
export async function clearRows(store: Store): Promise<void> {
  const changes = durableClasses().flatMap((cls) => {
    const table = store.table<Row>(`rows.${cls}`);
    return [...table.entries()].map(([ref]) => table.change(ref, undefined));
  });
  await store.putMany(changes);
}

/** The defaults of a class; rows share them, so nothing in them can be changed. */
type Defaults = (cls: ClassName) => Fields;

function makeDefaults(): Defaults {
  const made = new Map<ClassName, Fields>();
  return (cls) => {
    const known = made.get(cls) ?? freezeAll(recordWithDefaults(cls));
    made.set(cls, known);
    return known;
  };
}

function freezeAll(record: Record<string, unknown>): Fields {
  for (const value of Object.values(record)) if (!(value instanceof Date)) Object.freeze(value);
  return Object.freeze(record);
}

function durableClasses(): ClassName[] {
  return (Object.keys(classes) as ClassName[]).filter(isDurable);
}

/** A stored row as a row of now: fields that the model gained since get their defaults, and no operation is under way. */
function thaw(defaults: Fields, row: Row): Row {
  const record: Record<string, unknown> = { ...defaults, ...row.record };
  if ('current_operations' in record) record.current_operations = {};
  return { ...row, record: Object.freeze(record) };
}

function database(rows: Rows, defaults: Defaults, saving: Saving): Database {
  const find = (cls: ClassName, ref: Ref): Fields | undefined => rows.find(cls, ref)?.record;
  const row = (cls: ClassName, ref: Ref): Row => {
    const found = rows.find(cls, ref);
    if (found === undefined) throw new XapiError('HANDLE_INVALID', [cls, ref]);
    return found;
  };
  const get = (cls: ClassName, ref: Ref): Fields => row(cls, ref).record;
  const update = (cls: ClassName, ref: Ref, patch: Fields): void => {
    const old = get(cls, ref);
    const changed = Object.entries(patch).filter(([name, value]) => !isSame(old[name], value));
    if (changed.length > 0) rows.patch(cls, ref, Object.fromEntries(changed));
  };
  const map = (cls: ClassName, ref: Ref, field: string): Fields => get(cls, ref)[field] as Fields;
  const set = (cls: ClassName, ref: Ref, field: string): unknown[] => get(cls, ref)[field] as unknown[];
  const byUuid = (cls: ClassName, uuid: string): Ref => {
    const ref = rows.byUuid(cls, uuid);
    if (ref === undefined) throw new XapiError('UUID_INVALID', [cls, uuid]);
    return ref;
  };

  return {
    get: get as Database['get'],
    find: find as Database['find'],
    all: ((cls: ClassName) => [...rows.all(cls)].map((r) => [r.ref, r.record])) as Database['all'],
    count: rows.count,
    byUuid: byUuid as Database['byUuid'],
    findByUuid: rows.byUuid as Database['findByUuid'],
    byNameLabel: rows.byName as Database['byNameLabel'],
    create<C extends ClassName>(cls: C, given: Partial<RecordOf<C>>, ref = newRef<C>()) {
      const record: Record<string, unknown> = { ...defaults(cls), ...given };
      if (record.uuid === '') record.uuid = randomUUID();
      rows.insert(cls, ref, record);
      return ref;
    },
    update: (cls, ref, patch) => update(cls, ref, patch as Fields),
    destroy(cls, ref) {
      get(cls, ref);
      rows.remove(cls, ref);
    },
    addToMap(cls, ref, field, key, value) {
      const old = map(cls, ref, field);
      if (Object.hasOwn(old, key)) throw new XapiError('MAP_DUPLICATE_KEY', [cls, field, ref, key]);
      update(cls, ref, { [field]: withKey(old, key, value) });
    },
    putInMap: (cls, ref, field, key, value) => update(cls, ref, { [field]: withKey(map(cls, ref, field), key, value) }),
    removeFromMap(cls, ref, field, key) {
      const rest = Object.entries(map(cls, ref, field)).filter(([name]) => name !== key);
      update(cls, ref, { [field]: Object.fromEntries(rest) });
    },
    addToSet(cls, ref, field, value) {
      const old = set(cls, ref, field);
      if (!old.includes(value)) update(cls, ref, { [field]: [...old, value] });
    },
    removeFromSet(cls, ref, field, value) {
      update(cls, ref, { [field]: set(cls, ref, field).filter((v) => v !== value) });
    },
    touch(cls, ref) {
      get(cls, ref);
      rows.patch(cls, ref, {});
    },
    generation: rows.generation,
    modified: (cls, ref) => row(cls, ref).modified,
    changes: rows.changes,
    onChange: rows.onChange,
    ...saving,
  };
}

function isSame(a: unknown, b: unknown): boolean {
  return a === b || isDeepStrictEqual(a, b);
}

function newRef<C extends ClassName>(): Ref<C> {
  return `OpaqueRef:${randomUUID()}` as Ref<C>;
}

/** A map with one more key; through entries, so that a key such as `__proto__` is one like any other. */
function withKey(old: Fields, key: string, value: unknown): Fields {
  return Object.fromEntries([...Object.entries(old).filter(([name]) => name !== key), [key, value]]);
}
