/**
 * The model's types in JSON: parameters in, results out, each by its declared type and never by its JavaScript type.
 */
import type { EventBatch, EventChange } from '../../idl/index.js';
import { XapiError } from '../base/errors.js';
import { defaultOf, fields, fieldsOf, formatDatetime, nullRef, parseDatetime, type Type } from '../base/value.js';

type JsonObject = Readonly<Record<string, unknown>>;

/**
 * The typed value of a parsed parameter. Integers may come as numbers or decimal strings and must be exact in a double;
 * records come out complete.
 * @throws INTERNAL_ERROR that names what was expected and what came
 */
export function decodeJson(type: Type, json: unknown): unknown {
  switch (type.kind) {
    case 'string':
    case 'ref':
      return typeof json === 'string' ? json : mismatch('string', json);
    case 'int':
      return decodeInt(json);
    case 'float':
      return decodeFloat(json);
    case 'bool':
      return typeof json === 'boolean' ? json : mismatch('bool', json);
    case 'datetime':
      return (typeof json === 'string' ? parseDatetime(json) : undefined) ?? mismatch('DateTime', json);
    case 'enum':
      if (typeof json === 'string' && type.values.includes(json)) return json;
      return mismatch(typeof json === 'string' ? `one of ${type.values.join(', ')}` : 'string', json);
    case 'set':
      return Array.isArray(json) ? json.map((each) => decodeJson(type.element, each)) : mismatch('list', json);
    case 'map':
      return decodeMap(type.key, type.value, json);
    case 'record':
      return decodeRecord(type.cls, json);
    case 'option':
      return json === null || json === undefined ? undefined : decodeJson(type.element, json);
    case 'void':
    case 'event_batch':
      return mismatch('nothing', json);
  }
}

function decodeInt(json: unknown): number {
  const value = typeof json === 'string' && /^-?\d+$/.test(json) ? Number(json) : json;
  if (typeof value !== 'number' || !Number.isInteger(value)) return mismatch('int64', json);
  if (!Number.isSafeInteger(value)) return mismatch(`int64 between -${Number.MAX_SAFE_INTEGER} and its opposite`, json);
  return value;
}

function decodeFloat(json: unknown): number {
  if (typeof json === 'number') return json;
  if (typeof json === 'string' && /^-?\d+(\.\d*)?([eE][-+]?\d+)?$/.test(json)) return Number(json);
  return mismatch('float', json);
}

function decodeMap(key: Type, value: Type, json: unknown): Record<string, unknown> {
  if (!isObject(json)) return mismatch('dictionary', json);
  // fromEntries makes a key such as __proto__ one like any other.
  return Object.fromEntries(Object.entries(json).map(([k, v]) => [String(decodeJson(key, k)), decodeJson(value, v)]));
}

function decodeRecord(cls: string, json: unknown): Record<string, unknown> {
  if (!isObject(json)) return mismatch('dictionary', json);
  const known = fieldsOf(cls);
  for (const name of Object.keys(json)) {
    if (!known.has(name)) throw new XapiError('INTERNAL_ERROR', [failure(`${cls} has no field '${name}'`)]);
  }
  return Object.fromEntries(
    [...known.values()].map((field) => [
      field.name,
      Object.hasOwn(json, field.name) ? decodeJson(field.type, json[field.name]) : defaultOf(field),
    ]),
  );
}

function isObject(json: unknown): json is JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

function mismatch(expected: string, json: unknown): never {
  throw new XapiError('INTERNAL_ERROR', [failure(`Expected ${expected}, got '${describe(json)}'`)]);
}

function failure(text: string): string {
  return `Failure(${JSON.stringify(text)})`;
}

/** How the XenAPI's errors show a value: `I(5)`, `S(text)`, `[I(1);I(2)]`, `{key:B(true)}`. Deep and long ones are cut. */
export function describe(json: unknown, depth = 0): string {
  if (depth > 8) return '...';
  if (typeof json === 'string') return `S(${json.length > 200 ? `${json.slice(0, 200)}...` : json})`;
  if (typeof json === 'number') return Number.isInteger(json) ? `I(${json})` : `F(${json})`;
  if (typeof json === 'boolean') return `B(${json})`;
  if (Array.isArray(json)) return `[${cut(json, (each) => describe(each, depth + 1))}]`;
  if (isObject(json)) return `{${cut(Object.entries(json), ([k, v]) => `${k}:${describe(v, depth + 1)}`)}}`;
  return 'N';
}

function cut<T>(items: readonly T[], show: (item: T) => string): string {
  const shown = items.slice(0, 8).map(show);
  return [...shown, ...(items.length > shown.length ? ['...'] : [])].join(';');
}

/**
 * The JSON text of a typed value.
 * @throws INTERNAL_ERROR for a value that is not of the type: an error of ours, not of the caller
 */
export function encodeJson(type: Type, value: unknown): string {
  switch (type.kind) {
    case 'string':
    case 'enum':
      return typeof value === 'string' ? JSON.stringify(value) : misfit(type, value);
    case 'ref':
      return typeof value === 'string' ? JSON.stringify(value === '' ? nullRef : value) : misfit(type, value);
    case 'int':
      return Number.isSafeInteger(value) ? String(value) : misfit(type, value);
    case 'float':
      return typeof value === 'number' ? formatFloat(value) : misfit(type, value);
    case 'bool':
      return typeof value === 'boolean' ? String(value) : misfit(type, value);
    case 'datetime':
      return value instanceof Date ? `"${formatDatetime(value)}"` : misfit(type, value);
    case 'void':
      return '""';
    case 'set':
      return Array.isArray(value)
        ? `[${value.map((each) => encodeJson(type.element, each)).join(',')}]`
        : misfit(type, value);
    case 'map':
      return isObject(value) ? encodeMap(type.value, value) : misfit(type, value);
    case 'record':
      return isObject(value) ? encodeRecord(type.cls, value) : misfit(type, value);
    case 'option':
      return value === undefined ? 'null' : encodeJson(type.element, value);
    case 'event_batch':
      return encodeBatch(value as EventBatch);
  }
}

/** With a point or an exponent always; NaN, Infinity and -Infinity bare. */
export function formatFloat(value: number): string {
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

function encodeMap(type: Type, value: JsonObject): string {
  return `{${Object.entries(value)
    .map(([k, v]) => `${JSON.stringify(k)}:${encodeJson(type, v)}`)
    .join(',')}}`;
}

function encodeRecord(cls: string, value: JsonObject): string {
  const members: string[] = [];
  for (const field of fieldsOf(cls).values()) {
    members.push(`"${field.name}":${encodeJson(field.type, value[field.name])}`);
  }
  return `{${members.join(',')}}`;
}

function misfit(type: Type, value: unknown): never {
  throw new XapiError('INTERNAL_ERROR', [`a value of type ${type.kind} was wanted, not ${describe(value)}`]);
}

const byLowerCase: ReadonlyMap<string, string> = new Map([...fields.keys()].map((cls) => [cls.toLowerCase(), cls]));

function encodeBatch(batch: EventBatch): string {
  const counts = encodeMap({ kind: 'int' }, batch.valid_ref_counts);
  const events = batch.events.map(encodeEvent).join(',');
  return `{"events":[${events}],"valid_ref_counts":${counts},"token":${JSON.stringify(batch.token)}}`;
}

function encodeEvent(event: EventChange): string {
  const { snapshot, ...head } = event;
  const text = JSON.stringify(head);
  if (snapshot === undefined) return text;
  const cls = byLowerCase.get(event.class) ?? event.class;
  return `${text.slice(0, -1)},"snapshot":${encodeRecord(cls, snapshot)}}`;
}
