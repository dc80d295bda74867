/** Whether values of records are of the types that the model declares. */
import { fieldsOf, parseDatetime, type Type } from '../../src/model/value.js';

/** Values of a class's records, as JSON has them. */
export type Records = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** What is wrong with the records of a class, one line a fault: fields that lack or are too many, values of another type. */
export function faultsOf(cls: string, records: Records): string[] {
  const model = fieldsOf(cls);
  return Object.values(records).flatMap((record) => [
    ...[...model.keys()].filter((name) => !(name in record)).map((name) => `${cls}.${name} is not there`),
    ...Object.entries(record)
      .filter(([name, value]) => !isOfType(model.get(name)?.type, value))
      .map(([name, value]) => `${cls}.${name} is ${JSON.stringify(value)}`),
  ]);
}

/** The class and the reference of every reference in the records of a class, the null one left out. */
export function referencesOf(cls: string, records: Records): [cls: string, ref: string][] {
  return Object.values(records).flatMap((record) =>
    [...fieldsOf(cls)].flatMap(([name, { type }]) => referencesIn(type, record[name])),
  );
}

function referencesIn(type: Type, value: unknown): [string, string][] {
  switch (type.kind) {
    case 'ref':
      return value === 'OpaqueRef:NULL' ? [] : [[type.cls, String(value)]];
    case 'set':
      return (value as unknown[]).flatMap((element) => referencesIn(type.element, element));
    case 'map':
      return Object.entries(value as object).flatMap(([key, element]) => [
        ...referencesIn(type.key, key),
        ...referencesIn(type.value, element),
      ]);
    default:
      return [];
  }
}

function isOfType(type: Type | undefined, value: unknown): boolean {
  switch (type?.kind) {
    case 'string':
      return typeof value === 'string';
    case 'int':
      return Number.isSafeInteger(value);
    case 'float':
      return typeof value === 'number';
    case 'bool':
      return typeof value === 'boolean';
    case 'datetime':
      return typeof value === 'string' && /^\d{8}T\d\d:\d\d:\d\dZ$/.test(value);
    case 'ref':
      return typeof value === 'string' && /^OpaqueRef:(NULL|[0-9a-f-]{36})$/.test(value);
    case 'enum':
      return type.values.includes(String(value));
    case 'set':
      return Array.isArray(value) && value.every((element) => isOfType(type.element, element));
    case 'map':
      return isObject(value) && Object.values(value).every((element) => isOfType(type.value, element));
    default:
      return false;
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A record as the client shows it: over XML-RPC, integers come as text, and it makes dates of times. */
export function recordAsSeen(
  cls: string,
  record: Readonly<Record<string, unknown>>,
  transport: 'json-rpc' | 'xml-rpc',
): Readonly<Record<string, unknown>> {
  if (transport === 'json-rpc') return record;
  const model = fieldsOf(cls);
  return mapValues(record, (value, name) => overXmlRpc(model.get(name)?.type, value));
}

function overXmlRpc(type: Type | undefined, value: unknown): unknown {
  switch (type?.kind) {
    case 'int':
      return String(value);
    case 'datetime':
      return parseDatetime(String(value));
    case 'set':
      return (value as unknown[]).map((element) => overXmlRpc(type.element, element));
    case 'map':
      return mapValues(value as object, (element) => overXmlRpc(type.value, element));
    default:
      return value;
  }
}

function mapValues(object: object, change: (value: unknown, key: string) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value, key)]));
}
