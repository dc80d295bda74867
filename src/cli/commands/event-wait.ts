/** xe event-wait: until an object is as described. */
import { type Params, paramNamed } from '../command-line.js';
import type { XapiSession } from '../xapi-client.js';
import type { Command } from '../xe-command.js';
import { type XeClass, xeClasses } from '../xe-fields.js';
import { filterObjects, filtersAmong, selectorOf } from '../xe-filter.js';
import { createObjects, type Objects, objectsOf, refClass, typeOfField, type XapiRecord } from '../xe-record.js';

/** How long the server holds one call that waits, in seconds. */
const holdSeconds = 30;

export const eventWait: Command = {
  name: 'event-wait',
  required: ['class'],
  optional: [],
  help:
    "Wait until an object of the class is as its fields are given, such as class=vm uuid=UUID power-state=halted; with 'field=/=value' " +
    'until the field has another value.',
  async run({ session, params }) {
    const shown = classNamed(paramNamed(params, 'class') as string);
    const filters = filtersAmong(params, ['class']);
    const followed = followObjects(session, [
      ...new Set([shown.class, ...filters.flatMap((f) => classesOf(shown, f))]),
    ]);
    do await followed.next();
    while (!(await isThere(followed.objects, shown, filters)));
  },
};

/** By the name that its commands begin with, or that the XenAPI has for it. */
function classNamed(name: string): XeClass {
  const all: readonly XeClass[] = Object.values(xeClasses);
  const found = all.find((shown) => shown.command === name) ?? all.find((shown) => shown.class === name);
  if (found === undefined) throw new Error(`There is no class '${name}'`);
  return found;
}

/** The classes that the field of a filter leads through, whose changes matter too. */
function classesOf(shown: XeClass, [name]: Params[number]): string[] {
  const path = selectorOf(shown, name).field.setter.split('.').slice(0, -1);
  const classes: string[] = [];
  for (const part of path) classes.push(refClass(typeOfField(classes.at(-1) ?? shown.class, part) ?? ''));
  return classes;
}

async function isThere(objects: Objects, shown: XeClass, filters: Params): Promise<boolean> {
  const isNot = ([, value]: Params[number]) => value.startsWith('/=');
  let left = await filterObjects(
    objects,
    shown,
    await objectsOf(objects, shown),
    filters.filter((f) => !isNot(f)),
  );
  for (const [name, value] of filters.filter(isNot)) {
    const same = await filterObjects(objects, shown, left, [[name, value.slice(2)]]);
    left = left.filter((object) => !same.includes(object));
  }
  return left.length > 0;
}

interface EventBatch {
  readonly token: string;
  readonly events: readonly { readonly class: string; readonly ref: string; readonly snapshot?: XapiRecord }[];
}

/**
 * Objects that are kept as they are on the server, by its events; those of other classes are read once.
 * @returns `next` waits for the next events; the first tell every object
 */
function followObjects(session: XapiSession, classes: readonly string[]) {
  const rows = new Map(classes.map((name) => [name.toLowerCase(), new Map<string, XapiRecord>()]));
  const others = createObjects(session);
  let token = '';
  const objects: Objects = {
    session,
    all: async (className) => rows.get(className.toLowerCase()) ?? others.all(className),
  };
  const next = async () => {
    const batch = await session.call<EventBatch>('event.from', classes, token, holdSeconds);
    token = batch.token;
    for (const { class: className, ref, snapshot } of batch.events) {
      if (snapshot === undefined) rows.get(className)?.delete(ref);
      else rows.get(className)?.set(ref, snapshot);
    }
  };
  return { objects, next };
}
