/**
 * The expressions of get_all_where and get_all_records_where: `true`, `false`, `field "power_state" = "Running"`, `not`,
 * `and`, `or` and parentheses. Texts stand in double or single quotes and hold anything but that quote; a backslash is itself.
 * As in xapi, `and` and `or` bind alike, from the left, and `not` takes all that follows it: `not a and b` is `not (a and b)`.
 * What is compared is the text of a value: true, 42, Running, OpaqueRef:...
 */
import type { ClassName } from '../../idl/index.js';
import { XapiError } from '../base/errors.js';
import { shownValue } from '../base/schema.js';
import type { Row } from '../model/dispatch-deps.js';
import { fieldsOf, formatDatetime, type Type } from '../model/value.js';
import { formatFloat } from './typed-value.js';

export type Filter = (row: Row) => boolean;

/** A place in the words of one expression. */
interface Reader {
  readonly cls: ClassName;
  readonly expression: string;
  readonly words: readonly string[];
  at: number;
  depth: number;
}

const maxDepth = 100;
const maxWords = 10_000;

/**
 * The condition that an expression writes, for rows of a class.
 * @throws INVALID_VALUE [expr, expression] for what is no expression, or names a field that the class lacks or whose
 *   values are no plain texts; what is wrong is for the log
 */
export function parseFilter(cls: ClassName, expression: string): Filter {
  const words = expression.match(/"[^"]*"|'[^']*'|[A-Za-z]+|\S/g) ?? [];
  const reader: Reader = { cls, expression, words, at: 0, depth: 0 };
  if (words.length > maxWords) throw refuse(reader, `more than ${maxWords} words`);
  const filter = parseExpression(reader);
  if (reader.at < words.length) throw unexpected(reader, 'the end');
  return filter;
}

/** However many terms there are, they are not nested: the stack is not for callers to use up. */
function parseExpression(reader: Reader): Filter {
  const first = parseTerm(reader);
  const further: { readonly isAnd: boolean; readonly term: Filter }[] = [];
  for (;;) {
    const isAnd = take(reader, 'and');
    if (!isAnd && !take(reader, 'or')) break;
    further.push({ isAnd, term: parseTerm(reader) });
  }
  return (row) => {
    let result = first(row);
    for (const { isAnd, term } of further) if (result === isAnd) result = term(row);
    return result;
  };
}

function parseTerm(reader: Reader): Filter {
  if (++reader.depth > maxDepth) throw refuse(reader, `more than ${maxDepth} levels deep`);
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
  if (field === undefined) throw refuse(reader, `${reader.cls} has no field '${name}'`);
  if (['set', 'map', 'record', 'option'].includes(field.type.kind)) {
    throw refuse(reader, `the values of '${name}' are no plain texts that could be compared`);
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
  return refuse(reader, `${wanted} was expected, not ${found === undefined ? 'the end' : `'${found.slice(0, 100)}'`}`);
}

function refuse({ expression }: Reader, what: string): XapiError {
  return new XapiError('INVALID_VALUE', ['expr', shownValue(expression)], `the filter expression is wrong: ${what}`);
}
