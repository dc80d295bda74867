/** What a row of the database is, and what becomes of one. */
import type { ClassName, Ref } from '../../../idl/index.js';

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
