/** Objects as rows of what xe prints. */

import { fieldOf, fieldsOf, type NamedField, type XeClass } from './fields.js';
import type { Row } from './printer.js';
import { type Objects, showField, type XeObject } from './record.js';

/**
 * The fields that `params=` asks for: in the class's order, whatever the order in which they were asked for.
 * @param asked names with commas between them, or `all`
 * @param ifNotAsked what is shown where nothing is asked for
 * @throws an Error that names a field that the class does not have
 */
export function columnsOf(
  shown: XeClass,
  asked: string | undefined,
  ifNotAsked: XeClass['columns'] = shown.columns,
): NamedField[] {
  const visible = fieldsOf(shown).filter((field) => !field.hidden);
  const names = asked === undefined ? ifNotAsked : asked === 'all' ? 'all' : asked.split(',');
  if (names === 'all') return visible;
  if (names.includes('')) throw new Error('params= takes names of fields with commas between them, or all');
  for (const name of names) fieldOf(shown, name);
  return visible.filter(({ name }) => names.includes(name));
}

/** An object's fields with their labels, for a list: without those that are expensive to compute. */
export function listedRow(objects: Objects, object: XeObject, fields: readonly NamedField[]): Promise<Row> {
  return Promise.all(
    fields.map(async (field) => [
      labelOf(field),
      field.expensive ? '<expensive field>' : (await showField(objects, object, field)).text,
    ]),
  );
}

/** Every field of an object with its label. */
export function wholeRow(objects: Objects, object: XeObject): Promise<Row> {
  const fields = fieldsOf(object.shown).filter((field) => !field.hidden);
  return Promise.all(
    fields.map(async (field) => [labelOf(field), (await showField(objects, object, field)).text] as const),
  );
}

/** Give what stands before a value: its name, and how it may be changed. */
export function labelOf({ name, kind, deprecated }: Pick<NamedField, 'name' | 'kind' | 'deprecated'>): string {
  return `${name} (${kind.padStart(3)})${deprecated ? ' [DEPRECATED]' : ''}`;
}
