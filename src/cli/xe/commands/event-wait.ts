/** xe event-wait: until an object is as described. */

import type { XapiSession } from '../../client/xapi-client.js';
import type { Command } from '../command.js';
import { type Params, paramNamed } from '../command-line.js';
import { type XeClass, xeClasses } from '../fields.js';
import { filterObjects, filtersAmong, selectorOf } from '../filter.js';
import { createObjects, type Objects, objectsOf, refClass, typeOfField, type XapiRecord } from '../record.js';

/** Time for which the server holds one call that waits, in seconds. */
const holdSeconds = 30;

export const eventWait: Command = {
  name: 'event-wait',
  required: ['class'],
  optional: [],
  open: true,
  help:
    "Wait until an object of the class is as its fields are given, such as class=vm uuid=UUID power-state=halted; with 'field=/=value' " +
    'until the field has another value. It is an error when the object that uuid= or name-label= names goes before.',
  async run({ session, params }) {
    const shown = classNamed(paramNamed(params, 'class') as string);
    const filters = filtersAmong(params, ['class']);
    const followed = followObjects(session, [
      ...new Set([shown.class, ...filters.flatMap((f) => classesOf(shown, f))]),
    ]);
    const named = filters.filter(([name, value]) => identifying.includes(name) && !isNot(value));
    let waitedFor: readonly string[] = [];
    for (;;) {
      await followed.next();
      if (await isThere(followed.objects, shown, filters)) return;
      if (named.length === 0) continue;
      const rows = await followed.objects.all(shown.class);
      const left = await filterObjects(followed.objects, shown, await objectsOf(followed.objects, shown), named);
      const isGone = left.length === 0 && waitedFor.length > 0 && waitedFor.every((ref) => !rows.has(ref));
      if (isGone) throw new Error(`The ${shown.command} that was waited for is gone`);
      if (left.length > 0) waitedFor = left.map(({ ref }) => ref);
    }
  },
};

/** Fields by which a filter says which object is meant, not how it is to be. */
const identifying: readonly string[] = ['uuid', 'name-label'];

/** Tell whether a filter asks for any other value than this. */
const isNot = (value: string) => value.startsWith('/=');

/** Find a class by the name that its commands begin with, or that the XenAPI has for it. */
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
  let left = await filterObjects(
    objects,
    shown,
    await objectsOf(objects, shown),
    filters.filter(([, value]) => !isNot(value)),
  );
  for (const [name, value] of filters.filter((f) => isNot(f[1]))) {
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
