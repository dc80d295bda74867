/** From a record of the XenAPI to what xe shows of it. */
import { type ClassModel, classes } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { XapiSession } from '../client/xapi-client.js';
import { labels } from './fields/labels.js';
import type { NamedField, XeClass } from './fields.js';

export type XapiRecord = Readonly<Record<string, unknown>>;

/** An object of a class that xe shows. */
export interface XeObject {
  readonly shown: XeClass;
  readonly ref: string;
  readonly record: XapiRecord;
}

/** A field's value as text; a set and a map have their parts as well. */
export interface Shown {
  readonly text: string;
  readonly set?: readonly string[];
  readonly map?: readonly (readonly [key: string, value: string])[];
}

/** The objects of a session's pool, a class read once and when it is first needed. */
export interface Objects {
  readonly session: XapiSession;
  /** Every object of a class by reference; none of a class that the model lacks. */
  all(className: string): Promise<ReadonlyMap<string, XapiRecord>>;
}

const notInDatabase = '<not in database>';
export const nullRef = 'OpaqueRef:NULL';

const models: Readonly<Record<string, ClassModel>> = classes;

/** Make the reader of a session's objects. */
export function createObjects(session: XapiSession): Objects {
  const read = new Map<string, Promise<ReadonlyMap<string, XapiRecord>>>();
  const load = async (className: string) => {
    if (!Object.hasOwn(models, className)) return new Map<string, XapiRecord>();
    const records = await session.call<Record<string, XapiRecord>>(`${className}.get_all_records`);
    return new Map(Object.entries(records));
  };
  return {
    session,
    all(className) {
      const known = read.get(className) ?? load(className);
      read.set(className, known);
      return known;
    },
  };
}

/** Every object of a class, as the server orders them. */
export async function objectsOf(objects: Objects, shown: XeClass): Promise<XeObject[]> {
  const records = await objects.all(shown.class);
  return [...records].map(([ref, record]) => ({ shown, ref, record }));
}

/** A text with the uuid and name of each object in the place of its reference, where the object can be found. */
export async function nameReferences(objects: Objects, text: string): Promise<string> {
  let named = text.replaceAll(nullRef, 'none');
  for (const ref of new Set(text.match(/OpaqueRef:(?!NULL\b)[\w-]+/g))) {
    const record = await find(objects, ref);
    if (record === undefined) continue;
    const { uuid, name_label: label } = record;
    const name = typeof label === 'string' ? `${uuid} (${label})` : String(uuid);
    // Where the server itself has put the name behind it, once is enough.
    named = named.replaceAll(`${ref} (${label})`, name).replaceAll(ref, name);
  }
  return named;
}

async function find(objects: Objects, ref: string): Promise<XapiRecord | undefined> {
  for (const [name, model] of Object.entries(models)) {
    if (!model.inDatabase || !model.generic.includes('get_all_records')) continue;
    const record = (await objects.all(name).catch(() => undefined))?.get(ref);
    if (record !== undefined) return record;
  }
  return undefined;
}

/** The written type of a field of the XenAPI, such as `set(ref:VIF)`. */
export function typeOfField(className: string, field: string): string | undefined {
  return models[className]?.fields[field]?.type;
}

/** The class that a reference, or a set of references, leads to. */
export function refClass(type: string): string {
  return type.replace(/^set\((.*)\)$/, '$1').replace(/^ref:/, '');
}

/** Give what xe shows of a field of an object. */
export async function showField(objects: Objects, object: XeObject, field: NamedField): Promise<Shown> {
  const none = { text: field.none ?? notInDatabase, set: [], map: [] };
  if (field.call !== undefined) return callResult(objects, object, field.call, none);
  if (field.assert !== undefined) return assertion(objects, object, field.assert);
  if (field.everyHost !== undefined) return everyHost(objects, field.everyHost);
  return follow(objects, object, field, none);
}

async function callResult(objects: Objects, object: XeObject, message: string, none: Shown): Promise<Shown> {
  const [className = '', name = ''] = message.split('.');
  try {
    const result = await objects.session.call(message, object.ref);
    return await render(objects, models[className]?.messages[name]?.result ?? 'string', result);
  } catch (error) {
    if (error instanceof XapiError) return none;
    throw error;
  }
}

async function assertion(objects: Objects, { ref }: XeObject, message: string): Promise<Shown> {
  try {
    await objects.session.call(message, ref);
    return { text: 'true' };
  } catch (error) {
    if (!(error instanceof XapiError)) throw error;
    return { text: `false (error: ${await nameReferences(objects, error.message)})` };
  }
}

async function everyHost(objects: Objects, field: string): Promise<Shown> {
  const hosts = [...(await objects.all('host')).values()];
  const type = typeOfField('host', field) ?? 'string';
  const texts = await Promise.all(hosts.map(async (host) => (await render(objects, type, host[field])).text));
  const same = new Set(texts).size === 1;
  return { text: same ? (texts[0] as string) : '<inconsistent>' };
}

/** Walk the field's path through references. Where it meets a set of them, there may be several values. */
async function follow(objects: Objects, object: XeObject, field: NamedField, none: Shown): Promise<Shown> {
  const path = field.setter.split('.');
  const last = path.pop() as string;
  let className: string = object.shown.class;
  let records: readonly XapiRecord[] = [object.record];
  let several = false;
  for (const part of path) {
    const type = typeOfField(className, part) ?? '';
    const refs = records.flatMap((record) => record[part] as string | string[]).filter((ref) => ref !== nullRef);
    if (refs.length > 1 && field.many !== undefined) return { text: field.many };
    several ||= type.startsWith('set(');
    className = refClass(type);
    const all = await objects.all(className);
    records = refs.map((ref) => all.get(ref)).filter((record) => record !== undefined);
  }
  const values = await Promise.all(records.map((record) => valueIn(objects, object, field, className, record, last)));
  const found = values.filter((value) => value !== undefined);
  if (!several || field.many !== undefined) return found[0] ?? none;
  const texts = found.map(({ text }) => text);
  return { text: texts.join('; '), set: texts };
}

/** The value of a field of one record; undefined where the server does not have it, or it is left out. */
async function valueIn(
  objects: Objects,
  object: XeObject,
  field: NamedField,
  className: string,
  record: XapiRecord,
  name: string,
): Promise<Shown | undefined> {
  const type = typeOfField(className, name);
  if (type === undefined || !Object.hasOwn(record, name)) return undefined;
  if (field.text !== undefined) {
    const text = field.text(record[name], record, object.ref);
    return text === undefined ? undefined : { text };
  }
  const value = await render(objects, type, record[name], field.none);
  // Who does an operation is of no interest here, only what is being done.
  if (name !== 'current_operations') return value;
  const operations = (value.map ?? []).map(([, operation]) => operation);
  return { text: operations.join('; '), set: operations };
}

/** A value by its written type. References are shown as uuids. */
async function render(objects: Objects, type: string, value: unknown, none = notInDatabase): Promise<Shown> {
  const set = /^set\((.*)\)$/.exec(type);
  if (set !== null) {
    const items = await Promise.all(
      (value as unknown[]).map((item) => renderText(objects, set[1] as string, item, none)),
    );
    return { text: items.join('; '), set: items };
  }
  const map = /^map\(([^,()]*),(.*)\)$/.exec(type);
  if (map !== null) {
    const entries = await Promise.all(
      Object.entries(value as object).map(async ([key, item]) => {
        const texts = [
          renderText(objects, map[1] as string, key, none),
          renderText(objects, map[2] as string, item, none),
        ];
        return (await Promise.all(texts)) as [string, string];
      }),
    );
    return { text: entries.map(([key, item]) => `${key}: ${item}`).join('; '), map: entries };
  }
  return { text: await plainText(objects, type, value, none) };
}

async function renderText(objects: Objects, type: string, value: unknown, none: string): Promise<string> {
  return (await render(objects, type, value, none)).text;
}

async function plainText(objects: Objects, type: string, value: unknown, none: string): Promise<string> {
  const text = String(value);
  if (type === 'float') return Number(value).toFixed(3);
  if (type.startsWith('enum:')) return labels[type.slice('enum:'.length)]?.[text] ?? text;
  if (!type.startsWith('ref:')) return text;
  if (text === nullRef) return none;
  const record = (await objects.all(type.slice('ref:'.length))).get(text);
  return record === undefined ? none : String(record.uuid);
}
