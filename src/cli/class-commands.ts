/** The commands that every class has: list, and param-list, -get, -set, -add, -remove and -clear. Made from its data alone. */
import { boolParam, type Params, paramNamed } from './command-line.js';
import type { Row } from './printer.js';
import { type Command, type Context, filterObjects, filtersAmong, isMap, isSet, selectorOf } from './xe-command.js';
import { fieldOf, fieldsOf, type NamedField, type XeClass } from './xe-fields.js';
import { objectsOf, showField, typeOfField, type XeObject } from './xe-record.js';
import { parseValue } from './xe-value.js';

const commonLists = ['vm', 'host', 'pool', 'network', 'sr', 'task'];

/** The commands of a class. */
export function classCommands(shown: XeClass): Command[] {
  const fields = fieldsOf(shown).filter((field) => !field.hidden);
  const names = fields.map(({ name }) => name);
  const sets = fields.filter(isSet).map(({ name }) => `${name}:contains`);
  const settable = fields
    .filter(({ kind }) => kind === 'RW' || kind === 'MRW')
    .map((field) => (isMap(field) ? `${field.name}:` : field.name));
  const addable = fields.some(({ kind }) => kind === 'SRW' || kind === 'MRW');
  const list: Command = {
    name: `${shown.command}-list`,
    required: [],
    optional: ['params', ...names, ...sets],
    help: `List the ${shown.command}s that the filters pick; filter on a map with 'map:key=value'.`,
    ...(commonLists.includes(shown.command) ? { common: true } : {}),
    run: (context) => listObjects(context, shown),
  };
  return [
    list,
    command(shown, 'list', [], [], 'Show every parameter of an object.', listParams),
    command(shown, 'get', ['param-name'], ['param-key'], 'Show one parameter, or one key of a map.', getParam),
    ...(settable.length === 0
      ? []
      : [command(shown, 'set', [], settable, "Set parameters; set a key of a map with 'map:key=value'.", setParams)]),
    ...(addable ? addAndRemove(shown) : []),
    command(shown, 'clear', ['param-name'], [], 'Empty a set or map, or clear a parameter.', clearParam),
  ];
}

function addAndRemove(shown: XeClass): Command[] {
  const add = "Add to a set with 'param-key=value', to a map with 'key=value'.";
  return [
    command(shown, 'add', ['param-name'], ['param-key'], add, addToParam),
    command(
      shown,
      'remove',
      ['param-name', 'param-key'],
      [],
      'Remove a member of a set or a key of a map.',
      removeFromParam,
    ),
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
  const every = await objectsOf(objects, shown);
  const picked = await filterObjects(objects, shown, every, filters);
  const columns = columnsOf(shown, paramNamed(params, 'params'));
  const rows = (boolParam(params, 'all') ? every : picked).map((object) => rowOf(context, object, columns, true));
  printer.table(await Promise.all(rows));
}

/** In the class's order, whatever the order in which they were asked for. */
function columnsOf(shown: XeClass, asked: string | undefined): NamedField[] {
  const visible = fieldsOf(shown).filter((field) => !field.hidden);
  if (asked === 'all') return visible;
  const names = asked === undefined ? shown.columns : asked.split(',');
  for (const name of names) fieldOf(shown, name);
  return visible.filter(({ name }) => names.includes(name));
}

async function rowOf(
  { objects }: Context,
  object: XeObject,
  fields: readonly NamedField[],
  inList: boolean,
): Promise<Row> {
  return Promise.all(
    fields.map(async (field) => {
      const skip = inList && field.expensive;
      return [labelOf(field), skip ? '<expensive field>' : (await showField(objects, object, field)).text] as const;
    }),
  );
}

function labelOf({ name, kind, deprecated }: NamedField): string {
  return `${name} (${kind.padStart(3)})${deprecated ? ' [DEPRECATED]' : ''}`;
}

async function listParams(context: Context, object: XeObject): Promise<void> {
  const fields = fieldsOf(object.shown).filter((field) => !field.hidden);
  context.printer.table([await rowOf(context, object, fields, false)]);
}

async function getParam(context: Context, object: XeObject): Promise<void> {
  const field = namedParam(context, object);
  const value = await showField(context.objects, object, field);
  const key = paramNamed(context.params, 'param-key');
  if (key === undefined || !isMap(field)) return context.printer.list([value.text]);
  const entry = (value.map ?? []).find(([name]) => name === key);
  if (entry === undefined) throw new Error(`Key ${key} not found in map`);
  context.printer.list([entry[1]]);
}

function namedParam({ params }: Context, { shown }: XeObject): NamedField {
  return fieldOf(shown, paramNamed(params, 'param-name') as string);
}

async function setParams(context: Context, object: XeObject): Promise<void> {
  for (const [name, value] of filtersAmong(context.params, ['uuid'])) await setParam(context, object, name, value);
}

async function setParam(context: Context, object: XeObject, name: string, value: string): Promise<void> {
  const { session } = context;
  const { field, part } = selectorOf(object.shown, name);
  if (isSet(field)) throw new Error(`Field '${field.name}' is a set: use param-add and param-remove`);
  if (part === undefined) {
    if (isMap(field)) throw new Error(`Field '${name}' is a map: use '${name}:key=value'`);
    if (field.kind !== 'RW') throw new Error(`Field '${name}' is read-only`);
    const type = typeOfField(field.everyHost === undefined ? object.shown.class : 'host', field.setter) ?? 'string';
    return session.call(message(object, 'set', field), object.ref, await parseValue(session, name, type, value));
  }
  if (field.kind !== 'MRW') throw new Error(`Map field '${field.name}' is read-only`);
  const { map = [] } = await showField(context.objects, object, field);
  if (map.some(([key]) => key === part)) await session.call(message(object, 'remove_from', field), object.ref, part);
  await session.call(message(object, 'add_to', field), object.ref, part, value);
}

async function addToParam(context: Context, object: XeObject): Promise<void> {
  const { session, params } = context;
  const field = namedParam(context, object);
  assertHasParts(field);
  if (isSet(field)) {
    const member = paramNamed(params, 'param-key');
    if (member === undefined) throw new Error(`Field '${field.name}' is a set: give what to add as param-key=value`);
    return session.call(message(object, 'add', field), object.ref, member);
  }
  for (const [key, value] of filtersAmong(params, ['uuid', 'param-name', 'param-key'])) {
    await session.call(message(object, 'add_to', field), object.ref, key, value);
  }
}

async function removeFromParam(context: Context, object: XeObject): Promise<void> {
  const field = namedParam(context, object);
  assertHasParts(field);
  const key = paramNamed(context.params, 'param-key') as string;
  if (!(await partsOf(context, object, field)).includes(key)) {
    throw new Error(`Key ${key} is not in the ${isSet(field) ? 'set' : 'map'}`);
  }
  await context.session.call(message(object, isSet(field) ? 'remove' : 'remove_from', field), object.ref, key);
}

async function clearParam(context: Context, object: XeObject): Promise<void> {
  const { session } = context;
  const field = namedParam(context, object);
  if (field.kind === 'RW') return setParam(context, object, field.name, '');
  assertHasParts(field);
  for (const part of await partsOf(context, object, field)) {
    await session.call(message(object, isSet(field) ? 'remove' : 'remove_from', field), object.ref, part);
  }
}

function assertHasParts(field: NamedField): void {
  if (field.kind !== 'SRW' && field.kind !== 'MRW') {
    throw new Error(
      `Field '${field.name}' is ${isSet(field) || isMap(field) ? 'read-only' : 'no set or map that can be changed'}`,
    );
  }
}

async function partsOf({ objects }: Context, object: XeObject, field: NamedField): Promise<readonly string[]> {
  const { set = [], map = [] } = await showField(objects, object, field);
  return isSet(field) ? set : map.map(([key]) => key);
}

function message({ shown }: XeObject, verb: string, field: NamedField): string {
  return `${shown.class}.${verb}_${field.setter}`;
}
