/** Records whose optional fields are absent rather than undefined. */

/** The same fields; those that may be undefined are optional. */
export type Defined<T> = { readonly [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  readonly [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/**
 * Leave out the fields that are undefined, as `{ ...defined({ a, b }) }` does for what has optional fields.
 *
 * @param fields
 * any record; it is not changed
 * @returns a new record with the fields that have a value
 */
export function defined<T extends object>(fields: T): Defined<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Defined<T>;
}
