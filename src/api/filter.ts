/**
 * The expressions of get_all_where and get_all_records_where: `true`, `false`, `field "power_state" = "Running"`, `not`,
 * `and`, `or` and parentheses; texts in double or single quotes, a backslash before a quote or a backslash inside. `not`
 * binds closest, then `and`, then `or`. What is compared is the text of a value: true, 42, Running, OpaqueRef:...
 */
import type { ClassName } from '../../idl/index.js';
import type { Row } from '../base/dispatch-deps.js';
import { XapiError } from '../base/errors.js';
import { fieldsOf, formatDatetime, type Type } from '../base/value.js';
import { formatFloat } from './typed-value.js';

export type Filter = (row: Row) => boolean;

/** A place in the words of one expression. */
interface Reader {
  readonly cls: ClassName;
  readonly words: readonly string[];
  at: number;
  depth: number;
}

const maxDepth = 100;

/**
 * The condition that an expression writes, for rows of a class.
 * @throws INTERNAL_ERROR for what is no expression, or names a field that the class lacks or whose values are no plain texts
 */
export function parseFilter(cls: ClassName, expression: string): Filter {
  const words = expression.match(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[A-Za-z]+|\S/gs) ?? [];
  const reader: Reader = { cls, words, at: 0, depth: 0 };
  const filter = parseOr(reader);
  if (reader.at < words.length) throw unexpected(reader, 'the end');
  return filter;
}

function parseOr(reader: Reader): Filter {
  let left = parseAnd(reader);
  while (take(reader, 'or')) {
    const [before, after] = [left, parseAnd(reader)];
    left = (row) => before(row) || after(row);
  }
  return left;
}

function parseAnd(reader: Reader): Filter {
  let left = parseTerm(reader);
  while (take(reader, 'and')) {
    const [before, after] = [left, parseTerm(reader)];
    left = (row) => before(row) && after(row);
  }
  return left;
}

function parseTerm(reader: Reader): Filter {
  if (++reader.depth > maxDepth) throw refuse(`more than ${maxDepth} levels deep`);
  try {
    if (take(reader, 'not')) {
      const inner = parseTerm(reader);
      return (row) => !inner(row);
    }
    if (take(reader, '(')) {
      const inner = parseOr(reader);
      if (!take(reader, ')')) throw unexpected(reader, "')'");
      return inner;
    }
    return parseComparison(reader);
  } finally {
    reader.depth--;
  }
}

function parseComparison(reader: Reader): Filter {
  if (take(reader, 'true')) return () => true;
  if (take(reader, 'false')) return () => false;
  const left = parseOperand(reader);
  if (!take(reader, '=')) throw unexpected(reader, "'='");
  const right = parseOperand(reader);
  return (row) => left(row) === right(row);
}

function parseOperand(reader: Reader): (row: Row) => string {
  if (!take(reader, 'field')) {
    const text = parseText(reader);
    return () => text;
  }
  const name = parseText(reader);
  const field = fieldsOf(reader.cls).get(name.replaceAll('__', '_'));
  if (field === undefined) throw refuse(`${reader.cls} has no field '${name}'`);
  if (['set', 'map', 'record', 'option'].includes(field.type.kind)) {
    throw refuse(`the values of '${name}' are no plain texts that could be compared`);
  }
  return (row) => textOf(field.type, row[field.name]);
}

function parseText(reader: Reader): string {
  const word = reader.words[reader.at] ?? '';
  if (word.length < 2 || !/^["']/.test(word)) throw unexpected(reader, 'a text in quotes');
  reader.at++;
  return word.slice(1, -1).replace(/\\(.)/gs, '$1');
}

function textOf(type: Type, value: unknown): string {
  if (value instanceof Date) return formatDatetime(value);
  return type.kind === 'float' ? formatFloat(value as number) : String(value);
}

function take(reader: Reader, word: string): boolean {
  if (reader.words[reader.at] !== word) return false;
  reader.at++;
  return true;
}

function unexpected(reader: Reader, wanted: string): XapiError {
  const found = reader.words[reader.at];
  return refuse(`${wanted} was expected, not ${found === undefined ? 'the end' : `'${found.slice(0, 100)}'`}`);
}

function refuse(what: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [`the filter expression is wrong: ${what}`]);
}
