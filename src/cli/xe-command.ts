/** What a command of xe is, and how it picks the objects that it works on. */
import { messageOf, XapiError } from '../base/errors.js';
import { boolParam, type Params } from './command-line.js';
import type { Printer } from './printer.js';
import type { XapiSession } from './xapi-client.js';
import { fieldOf, fieldsOf, type NamedField, type XeClass, xeClasses } from './xe-fields.js';
import { type Objects, objectsOf, showField, type XeObject } from './xe-record.js';

/** The streams and the keyboard of whoever runs the program. */
export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  /** Standard error where it is a terminal. */
  readonly screen: NodeJS.WriteStream | undefined;
  /** Listen for one Ctrl-C; call what it returns to stop listening. */
  onInterrupt(listener: () => void): () => void;
}

export interface Context {
  readonly session: XapiSession;
  readonly params: Params;
  readonly printer: Printer;
  readonly objects: Objects;
  readonly terminal: Terminal;
}

export interface Command {
  readonly name: string;
  readonly required: readonly string[];
  readonly optional: readonly string[];
  /** What it does, in a sentence. */
  readonly help: string;
  /** It works on the VMs that its other parameters pick. */
  readonly selects?: 'VMs';
  /** Shown in the short help. */
  readonly common?: true;
  run(context: Context): Promise<void>;
}

/** What every command takes; never a filter. */
const everywhere = ['minimal', 'force', 'multiple', 'all', 'progress', 'trace', 'message-priority', 'params'];

/**
 * The objects for which every filter holds: `field=value` compares what xe shows, `map:key=value` and `set:contains=value`
 * look inside (`map-key=value` is the older way to write it).
 * @throws an Error that names a field that the class does not have
 */
export async function filterObjects(objects: Objects, shown: XeClass, of: readonly XeObject[], filters: Params) {
  let left = of;
  for (const [name, value] of filters) {
    const { field, part } = selectorOf(shown, name);
    const keep = await Promise.all(left.map((object) => matches(objects, object, field, part, value)));
    left = left.filter((_, i) => keep[i]);
  }
  return left;
}

/**
 * The field that a filter or a setting names, and the part within it: a map's key, or `contains` for a set.
 * @throws an Error that names what is wrong
 */
export function selectorOf(shown: XeClass, name: string): { field: NamedField; part?: string } {
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
  if (inside === undefined) throw new Error(`Unknown field '${name}' of class ${shown.command}`);
  return { field: inside, part: name.slice(inside.name.length + 1) };
}

export function isSet(field: NamedField): boolean {
  return field.kind.startsWith('S');
}

export function isMap(field: NamedField): boolean {
  return field.kind.startsWith('M');
}

async function matches(objects: Objects, object: XeObject, field: NamedField, part: string | undefined, value: string) {
  const same = (text: string) => (field.caseless ? text.toLowerCase() === value.toLowerCase() : text === value);
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

/**
 * Do something with each VM that the parameters pick: `vm=` by uuid or name-label, any other by a field. Control domains and
 * templates are left out.
 * @param own the command's own parameters, which are no filters
 * @throws an Error when none is picked, when several are without --multiple, or, naming each, when some of several failed
 */
export async function withSelectedVms(context: Context, own: readonly string[], work: (vm: XeObject) => Promise<void>) {
  const vms = await selectVms(context, own);
  if (vms.length === 0) throw new Error('No matching VMs found');
  if (vms.length === 1) return work(vms[0] as XeObject);
  if (!boolParam(context.params, 'multiple')) {
    throw new Error(`${vms.length} VMs match; give --multiple to do it for all of them`);
  }
  const failures: string[] = [];
  for (const vm of vms) {
    await work(vm).catch((error: unknown) => {
      const text = error instanceof XapiError ? [error.code, ...error.params].join(' ') : messageOf(error);
      failures.push(`operation failed on ${vm.record.uuid}: ${text}`);
    });
  }
  if (failures.length > 0) throw new Error(failures.join('\n'));
}

async function selectVms(context: Context, own: readonly string[]): Promise<readonly XeObject[]> {
  const { objects, params } = context;
  const named = params.find(([name]) => name === 'vm')?.[1];
  const candidates = (await objectsOf(objects, xeClasses.vm)).filter(
    ({ record }) =>
      !record.is_a_template &&
      !record.is_control_domain &&
      (named === undefined || record.uuid === named || record.name_label === named),
  );
  return filterObjects(objects, xeClasses.vm, candidates, filtersAmong(params, ['vm', ...own]));
}

/**
 * The one object of a class that a name-label or uuid names.
 * @throws an Error when none or more than one has it
 */
export async function objectNamed(objects: Objects, shown: XeClass, name: string): Promise<XeObject> {
  const found = (await objectsOf(objects, shown)).filter(
    ({ record }) => record.uuid === name || record.name_label === name,
  );
  if (found.length === 0) throw new Error(`No ${shown.command} has the uuid or name-label '${name}'`);
  if (found.length > 1) throw new Error(`${found.length} objects have the name-label '${name}'; give the uuid`);
  return found[0] as XeObject;
}
