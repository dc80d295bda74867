/**
 * The model's types as trees, and the values that stand where none was given. A value here is what TypeOf says: times are
 * dates, references strings, everything else as in JSON.
 */
import { type ClassModel, type ClassName, classes, enums, type FieldModel, type TypeName } from '../../idl/index.js';

export type Type =
  | { readonly kind: 'string' | 'int' | 'float' | 'bool' | 'datetime' | 'void' | 'event_batch' | 'event_change' }
  | { readonly kind: 'ref' | 'record'; readonly cls: string }
  | { readonly kind: 'enum'; readonly name: string; readonly values: readonly string[] }
  | { readonly kind: 'set' | 'option'; readonly element: Type }
  | { readonly kind: 'map'; readonly key: Type; readonly value: Type };

export interface Field {
  readonly name: string;
  readonly type: Type;
  readonly model: FieldModel;
}

/**
 * The tree of a written type.
 * @throws Error for one that the vocabulary does not have
 */
export function parseType(name: TypeName): Type {
  const [, head = '', rest = ''] = /^(\w+)(.*)$/.exec(name) ?? [];
  const inner = rest.slice(1, -1);
  switch (head) {
    case 'secretstring':
      return { kind: 'string' };
    case 'string':
    case 'int':
    case 'float':
    case 'bool':
    case 'datetime':
    case 'void':
      return { kind: head };
    case 'ref':
      return { kind: 'ref', cls: rest.slice(1) };
    case 'record':
      return recordType(rest.slice(1));
    case 'enum':
      return enumType(rest.slice(1));
    case 'set':
    case 'option':
      return { kind: head, element: parseType(inner) };
    case 'map': {
      // Keys are plain types, so the first comma ends the key.
      const comma = inner.indexOf(',');
      return { kind: 'map', key: parseType(inner.slice(0, comma)), value: parseType(inner.slice(comma + 1)) };
    }
    default:
      throw new Error(`'${name}' is not a type of the model`);
  }
}

function recordType(cls: string): Type {
  return cls === 'event_batch' || cls === 'event_change' ? { kind: cls } : { kind: 'record', cls };
}

function enumType(name: string): Type {
  const values = (enums as Readonly<Record<string, readonly string[]>>)[name];
  if (values === undefined) throw new Error(`'${name}' is not an enumeration of the model`);
  return { kind: 'enum', name, values };
}

/** The fields of every class with their types, in the model's order. */
export const fields: ReadonlyMap<string, ReadonlyMap<string, Field>> = new Map(
  Object.values<ClassModel>(classes).map((cls) => [
    cls.name,
    new Map(
      Object.entries(cls.fields).map(([name, model]) => [name, { name, type: parseType(model.type), model }] as const),
    ),
  ]),
);

/** The names of the classes, by those in lower case that events have. */
export const classByLowerCase: ReadonlyMap<string, string> = new Map(
  [...fields.keys()].map((cls) => [cls.toLowerCase(), cls]),
);

/**
 * The fields of one class.
 * @throws Error for a class that the model lacks
 */
export function fieldsOf(cls: string): ReadonlyMap<string, Field> {
  const found = fields.get(cls);
  if (found === undefined) throw new Error(`the model has no class '${cls}'`);
  return found;
}

/** Give the time that stands for never in the XenAPI: the start of 1970. */
function never(): Date {
  return new Date(0);
}

/** The reference to nothing. */
export const nullRef = 'OpaqueRef:NULL';

/**
 * What a field or a parameter has when nobody gave a value: '', 0, false, the first of an enumeration, never, null,
 * empty.
 */
export function zeroOf(type: Type): unknown {
  switch (type.kind) {
    case 'string':
      return '';
    case 'int':
    case 'float':
      return 0;
    case 'bool':
      return false;
    case 'datetime':
      return never();
    case 'ref':
      return nullRef;
    case 'enum':
      return type.values[0];
    case 'set':
      return [];
    case 'map':
      return {};
    case 'record':
      return recordWithDefaults(type.cls);
    case 'void':
    case 'option':
    case 'event_batch':
    case 'event_change':
      return undefined;
  }
}

/** A written default as a value of its own, free to be changed. */
export function fromDefault(type: Type, written: unknown): unknown {
  if (type.kind === 'datetime') return parseDatetime(String(written)) ?? never();
  return structuredClone(written);
}

/** The value of a field that nobody gave: its default, or its type's zero. */
export function defaultOf(field: Field): unknown {
  return field.model.default === undefined ? zeroOf(field.type) : fromDefault(field.type, field.model.default);
}

/**
 * A record of a class with every field at its default.
 * @throws Error for a class that the model lacks
 */
export function recordWithDefaults(cls: ClassName | (string & {})): Record<string, unknown> {
  return Object.fromEntries([...fieldsOf(cls).values()].map((field) => [field.name, defaultOf(field)]));
}

/** A time whose UTC fields are what the clocks of some zone show, so that it is written without a zone. */
export class LocalDate extends Date {
  /** @param utcOffset how far the zone is ahead of UTC, in minutes */
  constructor(time: Date, utcOffset: number) {
    super(time.getTime() + utcOffset * 60_000);
  }
}

/** Give how far this machine's zone is ahead of UTC at a time, in minutes. */
export function utcOffsetAt(time: Date): number {
  // Never -0, which JSON has not.
  return 0 - time.getTimezoneOffset();
}

/**
 * `YYYYMMDDTHH:MM:SSZ`, without the `Z` for a local time; never for a time that is none, or outside the years 0 to
 * 9999.
 */
export function formatDatetime(time: Date): string {
  const year = time.getUTCFullYear();
  if (Number.isNaN(year) || year < 0 || year > 9999) return '19700101T00:00:00Z';
  const text = time.toISOString().slice(0, 19).replaceAll('-', '');
  return time instanceof LocalDate ? text : `${text}Z`;
}

const datetimePattern = /^(\d{4})-?(\d\d)-?(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?$/;

/**
 * The time that a text in ISO 8601, with or without dashes, names; UTC where it names no zone. Undefined for other
 * text.
 */
export function parseDatetime(text: string): Date | undefined {
  const match = datetimePattern.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, zone = 'Z'] = match;
  const offset = zone.replace(/^(...)(\d\d)$/, '$1:$2');
  const time = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}${offset}`);
  return Number.isNaN(time.getTime()) ? undefined : time;
}
