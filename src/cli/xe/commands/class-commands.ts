/**
 * The commands that every class has: list, and param-list, -get, -set, -add, -remove and -clear. Made from its data
 * alone.
 */

import type { Command, Context } from '../command.js';
import { boolParam, type Params, paramNamed, usageError } from '../command-line.js';
import { fieldOf, fieldsOf, type NamedField, type XeClass } from '../fields.js';
import { filterObjects, filtersAmong, isMap, isSet, selectorOf } from '../filter.js';
import { objectsOf, showField, typeOfField, type XeObject } from '../record.js';
import { columnsOf, listedRow, wholeRow } from '../table.js';
import { parseValue } from '../value.js';

const commonLists = ['vm', 'host', 'pool', 'network', 'sr', 'task'];

/** The commands of a class. */
export function classCommands(shown: XeClass): Command[] {
  const fields = fieldsOf(shown).filter((field) => !field.hidden);
  const names = fields.map(({ name }) => name);
  const sets = fields.filter(isSet).map(({ name }) => `${name}:contains`);
  const settable = fields.flatMap(settableAs);
  const list: Command = {
    name: `${shown.command}-list`,
    required: [],
    optional: ['params', ...names, ...sets],
    open: true,
    help: "List the objects that the filters pick; filter on a map with 'map:key=value'.",
    ...(commonLists.includes(shown.command) ? { common: true } : {}),
    run: (context) => listObjects(context, shown),
  };
  const commands = [
    list,
    command(shown, 'list', [], [], 'Show every parameter of an object.', listParams),
    command(shown, 'get', ['param-name'], ['param-key'], 'Show one parameter, or one key of a map.', getParam),
  ];
  if (settable.length > 0) {
    const help = "Set parameters; set a key of a map with 'map:key=value'.";
    commands.push(command(shown, 'set', [], settable, help, setParams));
  }
  if (fields.some(hasChangeableParts)) commands.push(...addAndRemove(shown));
  if (fields.some((field) => field.kind === 'RW' || hasChangeableParts(field))) {
    const help = 'Empty a set or map, or clear a parameter.';
    commands.push(command(shown, 'clear', ['param-name'], [], help, clearParam));
  }
  return commands;
}

/** Give the name of a field for param-set; none where the field cannot be set. */
function settableAs(field: NamedField): string[] {
  if (field.setKey !== undefined || field.kind === 'MRW') return [`${field.name}:`];
  return field.kind === 'RW' || field.kind === 'SRW' ? [field.name] : [];
}

function hasChangeableParts({ kind }: NamedField): boolean {
  return kind === 'SRW' || kind === 'MRW';
}

function addAndRemove(shown: XeClass): Command[] {
  const add = "Add to a set with 'param-key=value', to a map with 'key=value'.";
  const remove = 'Remove a member of a set or a key of a map.';
  return [
    command(shown, 'add', ['param-name'], ['param-key'], add, addToParam),
    command(shown, 'remove', ['param-name', 'param-key'], [], remove, removeFromParam),
  ];
}

type OnObject = (context: Context, object: XeObject) => Promise<void>;

function command(
  shown: XeClass,
  verb: string,
  required: readonly string[],
  optional: readonly string[],
  help: string,
  run: OnObject,
): Command {
  return {
    name: `${shown.command}-param-${verb}`,
    required: ['uuid', ...required],
    optional,
    ...(verb === 'set' || verb === 'add' ? { open: true } : {}),
    help,
    run: async (context) => run(context, await objectByUuid(context, shown)),
  };
}

async function objectByUuid({ session, params }: Context, shown: XeClass): Promise<XeObject> {
  const ref = await session.call<string>(`${shown.class}.get_by_uuid`, paramNamed(params, 'uuid'));
  return { shown, ref, record: await session.call(`${shown.class}.get_record`, ref) };
}

async function listObjects(context: Context, shown: XeClass): Promise<void> {
  const { objects, params, printer } = context;
  const filters: Params = [...Object.entries(shown.where ?? {}), ...filtersAmong(params, [])];
  const { filled } = shown;
  const every = (await objectsOf(objects, shown)).filter(
    ({ record }) => filled === undefined || (record[filled] as unknown[]).length > 0,
  );
  const picked = await filterObjects(objects, shown, every, filters);
  const columns = columnsOf(shown, paramNamed(params, 'params'));
  const rows = (boolParam(params, 'all') ? every : picked).map((object) => listedRow(objects, object, columns));
  printer.table(await Promise.all(rows));
}

async function listParams({ objects, printer }: Context, object: XeObject): Promise<void> {
  printer.table([await wholeRow(objects, object)]);
}

async function getParam(context: Context, object: XeObject): Promise<void> {
  const field = namedParam(context, object);
  const value = await showField(context.objects, object, field);
  const key = paramNamed(context.params, 'param-key');
  if (key === undefined) return context.printer.list([value.text]);
  if (!isMap(field)) throw new Error(`Field '${field.name}' is no map, so that it has no keys`);
  const entry = (value.map ?? []).find(([name]) => name === key);
  if (entry === undefined) throw new Error(`Key ${key} not found in map`);
  context.printer.list([entry[1]]);
}

function namedParam({ params }: Context, { shown }: XeObject): NamedField {
  return fieldOf(shown, paramNamed(params, 'param-name') as string);
}

async function setParams(context: Context, object: XeObject): Promise<void> {
  const given = filtersAmong(context.params, ['uuid']);
  if (given.length === 0) throw usageError("Nothing is given to set: 'name=value', or 'map:key=value'");
  for (const [name, value] of given) await setParam(context, object, name, value);
}

async function setParam(context: Context, object: XeObject, name: string, value: string): Promise<void> {
  const { session } = context;
  const { field, part } = selectorOf(object.shown, name);
  if (part === undefined) {
    if (isMap(field)) throw new Error(`Field '${name}' is a map: use '${name}:key=value'`);
    if (field.kind !== 'RW' && field.kind !== 'SRW') throw new Error(`Field '${name}' is read-only`);
    return setWhole(object, field, await parseValue(session, name, typeOf(object, field), value), context);
  }
  if (isSet(field))
    throw new Error(`Field '${field.name}' is a set: use '${field.name}=a,b', param-add or param-remove`);
  if (field.setKey !== undefined) {
    return session.call(`${object.shown.class}.${field.setKey}`, object.ref, part, value);
  }
  if (field.kind !== 'MRW') throw new Error(`Map field '${field.name}' is read-only`);
  const { map = [] } = await showField(context.objects, object, field);
  if (map.some(([key]) => key === part)) await removePart(context, object, field, part);
  await addPart(context, object, field, part, value);
}

function typeOf(object: XeObject, field: NamedField): string {
  return typeOfField(field.everyHost === undefined ? object.shown.class : 'host', field.setter) ?? 'string';
}

async function setWhole({ shown, ref }: XeObject, field: NamedField, value: unknown, { session }: Context) {
  await session.call(`${shown.class}.set_${field.setter}`, ref, value);
}

/** Add a member to a set, or a key with its value to a map. */
async function addPart(context: Context, object: XeObject, field: NamedField, key: string, value?: string) {
  if (field.whole) {
    const now = await context.session.call<object>(`${object.shown.class}.get_${field.setter}`, object.ref);
    if (isMap(field)) return setWhole(object, field, { ...now, [key]: value }, context);
    return setWhole(object, field, [...(now as unknown[]), await parseMember(context, object, field, key)], context);
  }
  if (isMap(field)) return context.session.call(message(object, 'add_to', field), object.ref, key, value);
  return context.session.call(
    message(object, 'add', field),
    object.ref,
    await parseMember(context, object, field, key),
  );
}

/** Remove a member of a set, or a key of a map. */
async function removePart(context: Context, object: XeObject, field: NamedField, key: string): Promise<void> {
  const { session } = context;
  if (field.whole) {
    const now = await context.session.call<object>(`${object.shown.class}.get_${field.setter}`, object.ref);
    if (isMap(field)) {
      const left = Object.entries(now).filter(([name]) => name !== key);
      return setWhole(object, field, Object.fromEntries(left), context);
    }
    const member = await parseMember(context, object, field, key);
    return setWhole(
      object,
      field,
      (now as unknown[]).filter((item) => item !== member),
      context,
    );
  }
  if (isMap(field)) return session.call(message(object, 'remove_from', field), object.ref, key);
  return session.call(message(object, 'remove', field), object.ref, await parseMember(context, object, field, key));
}

/** A set's member from its text: references are given as uuids. */
async function parseMember({ session }: Context, object: XeObject, field: NamedField, text: string): Promise<unknown> {
  const type = typeOf(object, field).replace(/^set\((.*)\)$/, '$1');
  return parseValue(session, field.name, type, text);
}

function message({ shown }: XeObject, verb: 'add' | 'add_to' | 'remove' | 'remove_from', field: NamedField): string {
  return `${shown.class}.${verb}_${field.member ?? field.setter}`;
}

async function addToParam(context: Context, object: XeObject): Promise<void> {
  const { params } = context;
  const field = namedParam(context, object);
  assertHasParts(field);
  if (isMap(field)) {
    const given = filtersAmong(params, ['uuid', 'param-name', 'param-key']);
    if (given.length === 0) throw usageError(`Field '${field.name}' is a map: give what to add as 'key=value'`);
    for (const [key, value] of given) await addPart(context, object, field, key, value);
    return;
  }
  const member = paramNamed(params, 'param-key');
  if (member === undefined) throw new Error(`Field '${field.name}' is a set: give what to add as param-key=value`);
  await addPart(context, object, field, member);
}

async function removeFromParam(context: Context, object: XeObject): Promise<void> {
  const field = namedParam(context, object);
  assertHasParts(field);
  const key = paramNamed(context.params, 'param-key') as string;
  if (!(await partsOf(context, object, field)).includes(key)) {
    throw new Error(`Key ${key} is not in the ${isSet(field) ? 'set' : 'map'}`);
  }
  await removePart(context, object, field, key);
}

async function clearParam(context: Context, object: XeObject): Promise<void> {
  const field = namedParam(context, object);
  if (field.kind === 'RW') {
    const type = typeOf(object, field);
    if (type !== 'string' && !type.startsWith('ref:')) {
      throw new Error(`Field '${field.name}' is never empty: param-set gives it another value`);
    }
    return setParam(context, object, field.name, '');
  }
  assertHasParts(field);
  if (field.whole) return setWhole(object, field, isMap(field) ? {} : [], context);
  for (const part of await partsOf(context, object, field)) await removePart(context, object, field, part);
}

function assertHasParts(field: NamedField): void {
  if (hasChangeableParts(field)) return;
  throw new Error(
    `Field '${field.name}' is ${field.kind === 'RW' ? 'no set or map: param-set changes it' : 'read-only'}`,
  );
}

async function partsOf({ objects }: Context, object: XeObject, field: NamedField): Promise<readonly string[]> {
  const { set = [], map = [] } = await showField(objects, object, field);
  return isSet(field) ? set : map.map(([key]) => key);
}
