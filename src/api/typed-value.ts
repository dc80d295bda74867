/**
 * Parameters by their declared type, whichever protocol they came in by. What a protocol has parsed is a tree of JSON's kinds:
 * texts, numbers, booleans, null, arrays and objects.
 */
import { XapiError } from '../base/errors.js';
import { defaultOf, fieldsOf, parseDatetime, type Type } from '../model/value.js';

export type Members = Readonly<Record<string, unknown>>;

/**
 * Which parameter, or field of one, was of which type, for the log: the error quotes what was sent, and the log does
 * not.
 */
export class WrongType {
  readonly parameter: string;
  readonly expected: Type['kind'];
  /** Kind of a JSON value. */
  readonly found: string;

  constructor(parameter: string, expected: Type['kind'], found: string) {
    this.parameter = parameter;
    this.expected = expected;
    this.found = found;
  }
}

/**
 * The typed value of a parsed parameter, or of a field of one, of a name. Integers may come as numbers or decimal
 * strings and must be exact in a double; enumerations may come in any case; records come out complete, without what the
 * model does not have.
 * @throws INTERNAL_ERROR that names what was expected and what came, with a WrongType as its cause; INVALID_VALUE
 *   [name, value] for an integer that is not exact
 */
export function decodeValue(type: Type, parsed: unknown, name = ''): unknown {
  const mismatch = (expected: string): never =>
    refuse(expected, parsed, new WrongType(name, type.kind, kindOf(parsed)));
  switch (type.kind) {
    case 'string':
    case 'ref':
      return typeof parsed === 'string' ? parsed : mismatch('string');
    case 'int':
      return decodeInt(parsed, name) ?? mismatch('int64');
    case 'float':
      return decodeFloat(parsed) ?? mismatch('float');
    case 'bool':
      return typeof parsed === 'boolean' ? parsed : mismatch('bool');
    case 'datetime':
      return (typeof parsed === 'string' ? parseDatetime(parsed) : undefined) ?? mismatch('DateTime');
    case 'enum':
      return typeof parsed === 'string'
        ? (decodeEnum(type.values, parsed) ?? mismatch(`one of ${type.values.join(', ')}`))
        : mismatch('string');
    case 'set':
      return Array.isArray(parsed) ? parsed.map((each) => decodeValue(type.element, each, name)) : mismatch('list');
    case 'map':
      return isObject(parsed) ? decodeMap(type.key, type.value, parsed, name) : mismatch('dictionary');
    case 'record':
      return isObject(parsed) ? decodeRecord(type.cls, parsed) : mismatch('dictionary');
    case 'option':
      return parsed === null || parsed === undefined ? undefined : decodeValue(type.element, parsed, name);
    case 'void':
    case 'event_batch':
    case 'event_change':
      return mismatch('nothing');
  }
}

function decodeEnum(values: readonly string[], parsed: string): string | undefined {
  if (values.includes(parsed)) return parsed;
  const inAnyCase = parsed.toLowerCase();
  return values.find((value) => value.toLowerCase() === inAnyCase);
}

function decodeInt(parsed: unknown, name: string): number | undefined {
  const value = typeof parsed === 'string' && /^[-+]?\d+$/.test(parsed) ? Number(parsed) : parsed;
  if (typeof value !== 'number' || !Number.isInteger(value)) return undefined;
  if (!Number.isSafeInteger(value)) throw new XapiError('INVALID_VALUE', [name, String(parsed)]);
  return value === 0 ? 0 : value;
}

function decodeFloat(parsed: unknown): number | undefined {
  if (typeof parsed === 'number') return parsed;
  return typeof parsed === 'string' ? parseFloatText(parsed) : undefined;
}

const decimal = /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/;
const notFinite = /^([-+]?)(nan|inf|infinity)$/i;

/**
 * The number that a text names: decimal, or `NaN`, `Inf` and `Infinity` in any case with or without a sign; else
 * undefined.
 */
export function parseFloatText(text: string): number | undefined {
  if (decimal.test(text)) return Number(text);
  const [, sign, word] = notFinite.exec(text) ?? [];
  if (word === undefined) return undefined;
  return /nan/i.test(word) ? Number.NaN : Number(`${sign}Infinity`);
}

function decodeMap(key: Type, value: Type, parsed: Members, name: string): Record<string, unknown> {
  // fromEntries makes a key such as __proto__ one like any other.
  return Object.fromEntries(
    Object.entries(parsed).map(([k, v]) => [String(decodeValue(key, k, name)), decodeValue(value, v, name)]),
  );
}

function decodeRecord(cls: string, parsed: Members): Record<string, unknown> {
  return Object.fromEntries(
    [...fieldsOf(cls).values()].map((field) => [
      field.name,
      Object.hasOwn(parsed, field.name) ? decodeValue(field.type, parsed[field.name], field.name) : defaultOf(field),
    ]),
  );
}

/** Tell whether a JSON value is an object, and no list. */
export function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refuse(expected: string, parsed: unknown, wrong: WrongType): never {
  throw new XapiError('INTERNAL_ERROR', [failure(`Expected ${expected}, got '${describe(parsed)}'`)], wrong);
}

function kindOf(parsed: unknown): string {
  return parsed === null ? 'null' : Array.isArray(parsed) ? 'array' : typeof parsed;
}

/** @returns never: a value that is not of its type is an error of ours, not of the caller */
export function misfit(type: Type, value: unknown): never {
  throw new XapiError('INTERNAL_ERROR', [`a value of type ${type.kind} was wanted, not ${describe(value)}`]);
}

function failure(text: string): string {
  return `Failure(${JSON.stringify(text)})`;
}

/**
 * How the XenAPI's errors show a value: `I(5)`, `S(text)`, `[I(1);I(2)]`, `{key:B(true)}`. Deep and long ones are cut.
 */
export function describe(parsed: unknown, depth = 0): string {
  if (depth > 8) return '...';
  if (typeof parsed === 'string') return `S(${parsed.length > 200 ? `${parsed.slice(0, 200)}...` : parsed})`;
  if (typeof parsed === 'number') return Number.isInteger(parsed) ? `I(${parsed})` : `F(${parsed})`;
  if (typeof parsed === 'boolean') return `B(${parsed})`;
  if (Array.isArray(parsed)) return `[${cut(parsed, (each) => describe(each, depth + 1))}]`;
  if (isObject(parsed)) return `{${cut(Object.entries(parsed), ([k, v]) => `${k}:${describe(v, depth + 1)}`)}}`;
  return 'N';
}

function cut<T>(items: readonly T[], show: (item: T) => string): string {
  const shown = items.slice(0, 8).map(show);
  return [...shown, ...(items.length > shown.length ? ['...'] : [])].join(';');
}

/** A float's text, with a point or an exponent always; NaN, Infinity and -Infinity bare. */
export function formatFloat(value: number): string {
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}
