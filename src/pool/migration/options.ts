/** Options of calls, which are maps of strings. */

const spellings = new Map([
  ['true', true],
  ['on', true],
  ['1', true],
  ['false', false],
  ['off', false],
  ['0', false],
]);

/** An option that is true, on, 1, false, off or 0 in any case; undefined where it is absent or anything else. */
export function booleanOption(options: Readonly<Record<string, string>>, name: string): boolean | undefined {
  return Object.hasOwn(options, name) ? spellings.get(String(options[name]).toLowerCase()) : undefined;
}
