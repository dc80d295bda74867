/** Filters on the command line of xe: which objects they pick, and which part of a field they name. */
import type { Params } from './command-line.js';
import { fieldOf, fieldsOf, type NamedField, unknownField, type XeClass } from './fields.js';
import { type Objects, showField, typeOfField, type XeObject } from './record.js';

/** Parameters that every command takes; never filters. */
const everywhere = [
  ...['minimal', 'force', 'multiple', 'all', 'progress', 'trace', 'message-priority', 'params'],
  // What the xe of xapi takes for itself.
  ...['debug', 'debugonfail', 'nossl'],
];

/**
 * The objects for which every filter holds: `field=value` compares what xe shows, `map:key=value` and `set:contains=value`
 * look inside (`map-key=value` is the older way to write it).
 * @param others what could be meant by the name of a field that there is not
 * @throws an Error that names a field that the class does not have
 */
export async function filterObjects(
  objects: Objects,
  shown: XeClass,
  of: readonly XeObject[],
  filters: Params,
  others: readonly string[] = [],
) {
  let left = of;
  for (const [name, value] of filters) {
    const { field, part } = selectorOf(shown, name, others);
    const keep = await Promise.all(left.map((object) => matches(objects, object, field, part, value)));
    left = left.filter((_, i) => keep[i]);
  }
  return left;
}

/**
 * The field that a filter or a setting names, and the part within it: a map's key, or `contains` for a set.
 * @throws an Error that names what is wrong
 */
export function selectorOf(
  shown: XeClass,
  name: string,
  others: readonly string[] = [],
): { field: NamedField; part?: string } {
  if (Object.hasOwn(shown.fields, name)) return { field: fieldOf(shown, name) };
  const colon = name.indexOf(':');
  if (colon >= 0) {
    const field = fieldOf(shown, name.slice(0, colon));
    if (!isSet(field) && !isMap(field)) throw new Error(`Field '${field.name}' is not a set or map`);
    return { field, part: name.slice(colon + 1) };
  }
  const inside = fieldsOf(shown)
    .filter((field) => (isSet(field) || isMap(field)) && name.startsWith(`${field.name}-`))
    .sort((a, b) => Number(isMap(b)) - Number(isMap(a)) || b.name.length - a.name.length)[0];
  if (inside === undefined) throw unknownField(shown, name, others);
  return { field: inside, part: name.slice(inside.name.length + 1) };
}

/** Tell whether a field is a set. */
export function isSet(field: NamedField): boolean {
  return field.kind.startsWith('S');
}

/** Tell whether a field is a map. */
export function isMap(field: NamedField): boolean {
  return field.kind.startsWith('M');
}

/** Tell whether the values are a few words, which the XenAPI writes in another case than xe. */
function isWordOfAFew(shown: XeClass, { setter }: NamedField): boolean {
  return /^(bool|enum:.*)$/.test(typeOfField(shown.class, setter) ?? '');
}

async function matches(objects: Objects, object: XeObject, field: NamedField, part: string | undefined, value: string) {
  const caseless = field.caseless || isWordOfAFew(object.shown, field);
  const same = (text: string) => (caseless ? text.toLowerCase() === value.toLowerCase() : text === value);
  const shown = await showField(objects, object, field);
  if (part === undefined) return same(shown.text);
  if (isMap(field)) return (shown.map ?? []).some(([key, text]) => key === part && same(text));
  if (part !== 'contains') throw new Error(`A set is filtered by '${field.name}:contains=value'`);
  return (shown.set ?? []).some(same);
}

/** The parameters that are filters: all but those that every command takes and those that this one names. */
export function filtersAmong(params: Params, own: readonly string[]): Params {
  return params.filter(([name]) => {
    const stem = name.split(':')[0] as string;
    return !everywhere.includes(stem) && !own.includes(stem);
  });
}
