/**
 * The expressions of get_all_where and get_all_records_where: `true`, `false`, `field "power_state" = "Running"`, `not`,
 * `and`, `or` and parentheses. Texts stand in double or single quotes and hold anything but that quote; a backslash is itself.
 * As in xapi, `and` and `or` bind alike, from the left, and `not` takes all that follows it: `not a and b` is `not (a and b)`.
 * What is compared is the text of a value: true, 42, Running, OpaqueRef:...
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
  const words = expression.match(/"[^"]*"|'[^']*'|[A-Za-z]+|\S/g) ?? [];
  const reader: Reader = { cls, words, at: 0, depth: 0 };
  const filter = parseExpression(reader);
  if (reader.at < words.length) throw unexpected(reader, 'the end');
  return filter;
}

function parseExpression(reader: Reader): Filter {
  let left = parseTerm(reader);
  for (;;) {
    const before = left;
    if (take(reader, 'and')) {
      const after = parseTerm(reader);
      left = (row) => before(row) && after(row);
    } else if (take(reader, 'or')) {
      const after = parseTerm(reader);
      left = (row) => before(row) || after(row);
    } else {
      return left;
    }
  }
}

function parseTerm(reader: Reader): Filter {
  if (++reader.depth > maxDepth) throw refuse(`more than ${maxDepth} levels deep`);
  try {
    if (take(reader, 'not')) {
      const inner = parseExpression(reader);
      return (row) => !inner(row);
    }
    if (take(reader, '(')) {
      const inner = parseExpression(reader);
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
  return word.slice(1, -1);
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
