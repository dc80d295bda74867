/** Commands on objects that the command line selects: VMs and hosts by any of their fields, others by their uuid. */

import type { Command, Context } from './command.js';
import { boolParam, paramNamed } from './command-line.js';
import { errorLine } from './error.js';
import { type XeClass, xeClasses } from './fields.js';
import { filterObjects, filtersAmong } from './filter.js';
import { nullRef, type Objects, objectsOf, type XapiRecord, type XeObject } from './record.js';

/** A command to be, on objects that are selected. */
export interface Selecting {
  readonly name: string;
  readonly help: string;
  readonly required?: readonly string[];
  readonly optional?: readonly string[];
  readonly common?: true;
  /** VMs that are templates can be selected too. */
  readonly templates?: true;
  /** Whether the command works on one object at a time, or on however many match without --multiple. */
  readonly count?: 'one' | 'any';
  /** Set where what `run` answers is printed, for each object on a line. */
  readonly prints?: true;
  readonly run: (context: Context, object: XeObject) => Promise<unknown>;
}

/** Control domains are never selected. */
export function onVms(init: Selecting): Command {
  return onSelected('VMs', xeClasses.vm, init);
}

/** Make a command that works on the hosts which its parameters pick. */
export function onHosts(init: Selecting): Command {
  return onSelected('hosts', xeClasses.host, init);
}

function onSelected(kind: 'VMs' | 'hosts', shown: XeClass, init: Selecting): Command {
  const { name, help, common, required = [], optional = [] } = init;
  return {
    name,
    help,
    required,
    optional,
    selects: kind,
    ...(common ? { common } : {}),
    async run(context) {
      const own = [...required, ...optional].map((param) => param.replace(/:$/, ''));
      const objects = await selected(context, kind, shown, own, init);
      const answers = await forEach(context, objects, (object) => init.run(context, object));
      if (init.prints) context.printer.list(answers.map(String));
    },
  };
}

/**
 * The objects that the parameters pick: `vm=` or `host=` by uuid or name, any other parameter by a field.
 * @throws an Error when none is picked, or more than the command takes
 */
async function selected(
  { objects, params }: Context,
  kind: 'VMs' | 'hosts',
  shown: XeClass,
  own: readonly string[],
  { templates, count }: Selecting,
): Promise<readonly XeObject[]> {
  const named = paramNamed(params, shown.command);
  const candidates = (await objectsOf(objects, shown)).filter(
    ({ record }) =>
      (templates || !record.is_a_template) &&
      !record.is_control_domain &&
      (named === undefined || isNamed(record, named)),
  );
  const names = [shown.command, ...own];
  const found = await filterObjects(objects, shown, candidates, filtersAmong(params, names), names);
  if (found.length === 0) throw new Error(`No matching ${kind} found`);
  if (found.length === 1 || count === 'any') return found;
  if (count === 'one') throw new Error(`${found.length} ${kind} match, and this is done for one at a time`);
  if (boolParam(params, 'multiple')) return found;
  throw new Error(`${found.length} ${kind} match; give --multiple to do it for all of them`);
}

/**
 * @throws what the only one failed with; else an Error that names each of several that failed, when all have been tried
 */
async function forEach(
  context: Context,
  objects: readonly XeObject[],
  work: (object: XeObject) => Promise<unknown>,
): Promise<unknown[]> {
  const answers: unknown[] = [];
  const failures: string[] = [];
  for (const object of objects) {
    try {
      answers.push(await work(object));
    } catch (error) {
      if (objects.length === 1) throw error;
      const { uuid, name_label: name } = object.record;
      failures.push(`operation failed on ${uuid} (${name}): ${await errorLine(error, context.objects)}`);
    }
  }
  if (failures.length > 0) throw new Error(failures.join('\n'));
  return answers;
}

function isNamed(record: XapiRecord, name: string): boolean {
  return record.uuid === name || record.name_label === name || record.hostname === name;
}

/**
 * The one object of a class that a name-label or uuid names; a host also by its hostname.
 * @param where for messages, where these are not the objects of the pool that xe asks
 * @throws an Error when none or more than one has it
 */
export async function objectNamed(objects: Objects, shown: XeClass, name: string, where = ''): Promise<XeObject> {
  const found = (await objectsOf(objects, shown)).filter(({ record }) => isNamed(record, name));
  if (found.length === 0) throw new Error(`No ${shown.command} ${where}has the uuid or name-label '${name}'`);
  if (found.length > 1) throw new Error(`${found.length} objects have the name-label '${name}'; give the uuid`);
  return found[0] as XeObject;
}

/** A command to be, on the one object that `uuid=` names. */
export interface ByUuid {
  readonly name: string;
  readonly class: string;
  readonly help: string;
  readonly required?: readonly string[];
  readonly optional?: readonly string[];
  readonly common?: true;
  /** Set where what `run` answers is printed. */
  readonly prints?: true;
  readonly run: (context: Context, ref: string) => Promise<unknown>;
}

/** Make a command that works on the object which uuid= names. */
export function onUuid(init: ByUuid): Command {
  const { name, help, required = [], optional = [], common } = init;
  return {
    name,
    help,
    required: ['uuid', ...required],
    optional,
    ...(common ? { common } : {}),
    async run(context) {
      const answer = await init.run(context, await refParam(context, 'uuid', init.class));
      if (init.prints) context.printer.list([String(answer)]);
    },
  };
}

/** A command that sends one message about the object that `uuid=` names, and nothing with it. */
export function sending(name: string, message: string, help: string): Command {
  const className = message.split('.')[0] as string;
  return onUuid({ name, class: className, help, run: ({ session }, ref) => session.call(message, ref) });
}

/**
 * The object that a parameter names by its uuid; the null reference where the parameter is not given.
 * @throws XapiError UUID_INVALID
 */
export async function refParam({ session, params }: Context, name: string, className: string): Promise<string> {
  const uuid = paramNamed(params, name);
  return uuid === undefined ? nullRef : session.call(`${className}.get_by_uuid`, uuid);
}

/** The uuid of an object, for printing. */
export async function uuidOf({ session }: Context, className: string, ref: string): Promise<string> {
  return session.call(`${className}.get_uuid`, ref);
}
