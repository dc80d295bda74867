import { expect } from 'chai';

/** Keys of maps that something on the way may lose, or take for another. */

/** Keys that a client may write. */
export const anyKeys: readonly string[] = [
  // Those that objects of the language have of themselves, and that a codec may leave out.
  ...['__proto__', '__proto_', 'constructor', 'prototype', 'toString', 'hasOwnProperty', '__defineGetter__', 'toJSON'],
  ...['', ' ', ' a ', '0', '1', '-1', '1e3', 'a.b', 'a:b', 'a=b', 'a/b', '<a>&"\'', '$ref', 'length', 'then', 'null'],
  ...['\n', 'a\r\nb', '\t', '\ufeff', '\u{1f600}', 'é', 'e\u0301', '\u2028', '\u007f', '\u0085'],
  'x'.repeat(10_000),
];

/** Characters that XML cannot carry, so that no client may write them. */
export const forbiddenKeys: readonly string[] = ['\0', 'a\0b', '\u0001', '\ud800', 'a\udc00', '\uffff'];

/** A map in which each key has itself for a value. */
export function mapOf(keys: readonly string[]): Record<string, string> {
  return Object.fromEntries(keys.map((key) => [key, `value of ${key}`]));
}

/**
 * Expect a map to have the very keys and values, in any order; chai's own comparison takes some keys for what objects
 * inherit.
 */
export function expectMap(found: unknown, wanted: Readonly<Record<string, string>>, what: string): void {
  const entries = (map: object) => new Map(Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1)));
  expect([...entries(found as object)], what).to.deep.equal([...entries(wanted)]);
}
