/**
 * The words in which the data model is written: what a class, a field, a message and a type look like as data, and the
 * TypeScript type that each written type stands for. Nothing here runs.
 */
import type { enums } from './enums.js';

/** A reference to an object of class C: `OpaqueRef:<uuid>`, or `OpaqueRef:NULL` for none. */
export type Ref<C extends string = string> = `OpaqueRef:${string}` & { readonly class?: C };

/** The roles of the XenAPI, from the most to the least. */
export type Role =
  | 'pool-admin'
  | 'pool-operator'
  | 'vm-power-admin'
  | 'vm-admin'
  | 'vm-operator'
  | 'client-cert'
  | 'read-only';

/**
 * Who may send a message: the least role of those that may, with `+cert` where a client certificate is enough as well.
 * `local-root`: no role suffices, only the local superuser and the pool's own sessions.
 */
export type RoleSet =
  | 'pool-admin'
  | 'pool-operator'
  | 'pool-operator+cert'
  | 'vm-power-admin'
  | 'vm-power-admin+cert'
  | 'vm-admin'
  | 'vm-operator'
  | 'vm-operator+cert'
  | 'read-only'
  | 'local-root';

/**
 * A type as the model writes it: `string`, `int`, `float`, `bool`, `datetime`, `secretstring`, `void`, `ref:C`, `record:C`,
 * `enum:E`, `set(T)`, `map(K,V)`, `option(T)`. `record:event_batch` and
 * `record:event_change` are not a class's: the first is what `event.from` gives, the second what `event.next` gives a set of.
 */
export type TypeName = string;

export interface FieldModel {
  readonly type: TypeName;
  /** RO/constructor: given when the object is made, read-only afterwards. RO/runtime: set by the server alone. */
  readonly qualifier: 'RO/runtime' | 'RO/constructor' | 'RW';
  readonly default?: unknown;
  /** Who may read it, where that is not as for the class. */
  readonly readers?: RoleSet;
  /** Who may set, add and remove; for RW fields. */
  readonly writers?: RoleSet;
  /** Its accessors answer MESSAGE_REMOVED. */
  readonly removed?: boolean;
}

export interface ParamModel {
  readonly name: string;
  readonly type: TypeName;
  readonly default?: unknown;
}

export interface MessageModel {
  /**
   * Implemented by its name alone, without a handler: it sets, adds to or removes from the field that its name ends with, and
   * does nothing else.
   */
  readonly accessor?: true;
  /** What it does, in a sentence. A message that has this has a handler; one that has neither this nor `accessor` answers NOT_IMPLEMENTED. */
  readonly doc?: string;
  /** The parameters after the session. */
  readonly params: readonly ParamModel[];
  readonly result: TypeName;
  readonly roles: RoleSet;
  /** false: the first parameter is no session. */
  readonly session?: boolean;
  readonly async?: boolean;
  readonly hidden?: boolean;
  readonly poolInternal?: boolean;
  readonly removed?: boolean;
  readonly errors?: readonly string[];
}

/** The messages that every object of a class may have, made from its fields alone. */
export type GenericMessage =
  | 'get_record'
  | 'get_by_uuid'
  | 'get_by_name_label'
  | 'get_all'
  | 'get_all_records'
  | 'get_all_where'
  | 'get_all_records_where';

export interface ClassModel {
  readonly name: string;
  /** What answers MESSAGE_REMOVED of it: every generic message. */
  readonly removed?: true;
  /** Its objects are rows of the pool's database, with a reference each. */
  readonly inDatabase: boolean;
  /** Changes of its objects are events. */
  readonly events: boolean;
  readonly generic: readonly GenericMessage[];
  /** Who may read its objects; everyone where absent. */
  readonly readers?: RoleSet;
  readonly fields: Readonly<Record<string, FieldModel>>;
  readonly messages: Readonly<Record<string, MessageModel>>;
}

type Enums = typeof enums;

/**
 * The TypeScript type of a written type. Times are JavaScript dates; a secret is a string; a reference to a class that the
 * model lacks is a reference all the same.
 */
export type TypeOf<T extends string> = T extends 'string' | 'secretstring'
  ? string
  : T extends 'int' | 'float'
    ? number
    : T extends 'bool'
      ? boolean
      : T extends 'datetime'
        ? Date
        : T extends 'void'
          ? // biome-ignore lint/suspicious/noConfusingVoidType: what the model calls void is void
            void
          : T extends `ref:${infer C}`
            ? Ref<C>
            : T extends `enum:${infer E}`
              ? E extends keyof Enums
                ? Enums[E][number]
                : string
              : T extends 'record:event_batch'
                ? EventBatch
                : T extends 'record:event_change'
                  ? EventChange
                  : T extends `set(${infer E})`
                    ? TypeOf<E>[]
                    : T extends `map(${infer K},${infer V})`
                      ? MapOf<K, V>
                      : T extends `option(${infer O})`
                        ? TypeOf<O> | undefined
                        : T extends `record:${infer C}`
                          ? RecordOf<C>
                          : unknown;

/** One change of a row, as clients are told of it. */
export type EventChange = {
  [C in keyof Classes & string]: {
    readonly id: string;
    readonly timestamp: '0.0';
    readonly class: Lowercase<C>;
    readonly operation: 'add' | 'mod' | 'del';
    readonly ref: Ref<C>;
    /** The row as it is; absent on `del`. */
    readonly snapshot?: RecordOf<C>;
  };
}[keyof Classes & string];

/** The result of `event.from`, the one record that no class describes. */
export interface EventBatch {
  readonly events: readonly EventChange[];
  /** The number of live rows of every class, by its name in lower case. */
  readonly valid_ref_counts: Readonly<Record<string, number>>;
  readonly token: string;
}

/** Keys are strings in JSON whatever their written type: an int as its digits. */
type MapOf<_K extends string, V extends string> = { [key: string]: TypeOf<V> };

/** Every class of the model by name; `idl/index.ts` fills it in. */
// biome-ignore lint/suspicious/noEmptyInterface: the index adds the classes by declaration merging
export interface Classes {}

/** The record of an object of class C: each of its fields with its value. */
export type RecordOf<C extends string> = C extends keyof Classes
  ? Classes[C] extends { readonly fields: infer F }
    ? { -readonly [N in keyof F]: F[N] extends { readonly type: infer T extends string } ? TypeOf<T> : never }
    : never
  : Record<string, unknown>;
