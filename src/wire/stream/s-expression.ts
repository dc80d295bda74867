/** S-expressions as the suspend image's Xenops record has them: atoms, bare or quoted the OCaml way, and lists. */
import { XapiError } from '../../base/errors.js';

export type SExpression = string | readonly SExpression[];

const maxDepth = 16;
/** Atoms and lists. A record has a dozen, and each costs many times its bytes. */
const maxItems = 1000;
const bareAtom = /^[A-Za-z0-9_.:+/@-]+$/;
const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b' };
const escapeNames: Readonly<Record<string, string>> = {
  '\n': '\\n',
  '\t': '\\t',
  '\r': '\\r',
  '\b': '\\b',
  '"': '\\"',
  '\\': '\\\\',
};

/** The expression as ASCII text; bytes of UTF-8 beyond ASCII are written as `\ddd`. */
export function formatSExpression(expression: SExpression): string {
  if (typeof expression === 'string') return formatAtom(expression);
  const allLists = expression.every((item) => typeof item !== 'string');
  return `(${expression.map(formatSExpression).join(allLists ? '' : ' ')})`;
}

/** @throws INTERNAL_ERROR saying what is wrong at which byte */
export function parseSExpression(bytes: Uint8Array): SExpression {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  const parser = { text, at: 0, items: 0 };
  const expression = parseOne(parser, 0);
  skipSpace(parser);
  if (parser.at !== text.length) throw malformed('text behind the expression', parser);
  return expression;
}

interface Parser {
  readonly text: string;
  at: number;
  items: number;
}

function formatAtom(atom: string): string {
  if (bareAtom.test(atom)) return atom;
  const quoted = Buffer.from(atom, 'utf8')
    .toString('latin1')
    .replace(/["\\]|[^ -~]/g, escapeByte);
  return `"${quoted}"`;
}

function escapeByte(byte: string): string {
  return escapeNames[byte] ?? `\\${String(byte.charCodeAt(0)).padStart(3, '0')}`;
}

function parseOne(parser: Parser, depth: number): SExpression {
  skipSpace(parser);
  parser.items += 1;
  if (parser.items > maxItems) throw malformed(`more than ${maxItems} atoms and lists`, parser);
  const next = parser.text[parser.at];
  if (next === undefined) throw malformed('it ends early', parser);
  if (next === ')') throw malformed('an unexpected ")"', parser);
  if (next === '"') return parseQuoted(parser);
  if (next !== '(') return parseBare(parser);
  if (depth === maxDepth) throw malformed(`lists nested deeper than ${maxDepth}`, parser);
  parser.at += 1;
  const list: SExpression[] = [];
  for (;;) {
    skipSpace(parser);
    if (parser.text[parser.at] === ')') break;
    list.push(parseOne(parser, depth + 1));
  }
  parser.at += 1;
  return list;
}

function parseBare(parser: Parser): string {
  const atom = /[^\s()"]+/y;
  atom.lastIndex = parser.at;
  const found = (atom.exec(parser.text) as RegExpExecArray)[0];
  parser.at += found.length;
  return fromLatin1(found);
}

function parseQuoted(parser: Parser): string {
  const piece = /[^"\\]+|\\(?:\d{3}|x[0-9A-Fa-f]{2}|\n[ \t]*|[ntrb"'\\ ])/y;
  const pieces: string[] = [];
  parser.at += 1;
  while (parser.text[parser.at] !== '"') {
    piece.lastIndex = parser.at;
    const found = piece.exec(parser.text)?.[0];
    if (found === undefined) throw malformed('a bad escape, or a quoted atom without its end', parser);
    pieces.push(found.startsWith('\\') ? unescapeByte(found, parser) : found);
    parser.at += found.length;
  }
  parser.at += 1;
  return fromLatin1(pieces.join(''));
}

function unescapeByte(sequence: string, parser: Parser): string {
  const name = sequence[1] as string;
  if (name === '\n') return '';
  if (name === 'x') return String.fromCharCode(Number.parseInt(sequence.slice(2), 16));
  if (sequence.length < 4) return escapes[name] ?? name;
  const code = Number(sequence.slice(1));
  if (code > 255) throw malformed(`the escape ${sequence} above \\255`, parser);
  return String.fromCharCode(code);
}

function skipSpace(parser: Parser): void {
  const space = /\s*/y;
  space.lastIndex = parser.at;
  parser.at += (space.exec(parser.text) as RegExpExecArray)[0].length;
}

function fromLatin1(text: string): string {
  return Buffer.from(text, 'latin1').toString('utf8');
}

function malformed(what: string, parser: Parser): XapiError {
  return new XapiError('INTERNAL_ERROR', [`s-expression: ${what}, at byte ${parser.at}`]);
}
