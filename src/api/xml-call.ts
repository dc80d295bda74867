/**
 * An XML-RPC call read from its text, with saxes for the XML. What comes out are JSON's kinds of values, as the rest of the
 * front wants them: a time is its text, an integer that no number holds exactly its digits.
 *
 * Nothing in a call can refer to anything: a document type is refused, so there are no entities but XML's own five.
 */
import { SaxesParser } from 'saxes';
import { messageOf } from '../base/errors.js';
import { parseFloatText } from './typed-value.js';

export interface XmlCall {
  readonly method: string;
  readonly params: readonly unknown[];
}

/** Why a body is no call, with XML-RPC's customary code for it. */
export interface XmlRefusal {
  readonly code: -32700 | -32600;
  readonly reason: string;
}

/** What may stand in an element; those with none of these hold text alone. `value` holds either. */
const inner: Readonly<Record<string, readonly string[]>> = {
  methodCall: ['methodName', 'params'],
  params: ['param'],
  param: ['value'],
  value: [
    'string',
    'boolean',
    'int',
    'i4',
    'i8',
    'double',
    'dateTime.iso8601',
    'nil',
    'ex:i8',
    'ex:nil',
    'array',
    'struct',
  ],
  array: ['data'],
  data: ['value'],
  struct: ['member'],
  member: ['name', 'value'],
};

/** Levels of elements in each other that are allowed. No type of the model needs a quarter of them. */
const maxDepth = 100;

interface Element {
  readonly tag: string;
  readonly children: { readonly tag: string; readonly value: unknown }[];
  text: string;
}

/** Well-formed XML that is no call. */
class NoCall extends Error {}

/** @param text the whole body */
export function parseXmlCall(text: string): XmlCall | XmlRefusal {
  try {
    return parse(text);
  } catch (error) {
    return { code: error instanceof NoCall ? -32600 : -32700, reason: messageOf(error) };
  }
}

/** @throws NoCall; an Error of the parser for what is no XML */
function parse(text: string): XmlCall {
  const parser = new SaxesParser();
  const root: Element = { tag: '', children: [], text: '' };
  const open: Element[] = [root];
  const top = (): Element => open.at(-1) as Element;
  parser.on('doctype', () => {
    throw new NoCall('a document type is not allowed');
  });
  parser.on('opentagstart', ({ name }) => {
    const allowed = open.length === 1 ? ['methodCall'] : (inner[top().tag] ?? []);
    if (!allowed.includes(name)) {
      throw new NoCall(`<${name.slice(0, 100)}> stands where ${allowed.join(', ') || 'only text'} is allowed`);
    }
    if (open.length > maxDepth) throw new NoCall(`elements are more than ${maxDepth} deep`);
    open.push({ tag: name, children: [], text: '' });
  });
  const append = (more: string): void => {
    top().text += more;
  };
  parser.on('text', append);
  parser.on('cdata', append);
  parser.on('closetag', () => {
    const element = open.pop() as Element;
    top().children.push({ tag: element.tag, value: contentOf(element) });
  });
  parser.write(text).close();
  return root.children[0]?.value as XmlCall;
}

/** Give the value of a whole element. */
function contentOf(element: Element): unknown {
  const { tag, text, children } = element;
  if (inner[tag] === undefined) return scalarOf(tag, text);
  if (tag === 'value' && children.length === 0) return text;
  if (text.trim() !== '') throw new NoCall(`there is text between the elements of <${tag}>`);
  const values = children.map(({ value }) => value);
  switch (tag) {
    case 'methodCall':
      expectChildren(element, children.length === 1 ? ['methodName'] : ['methodName', 'params']);
      return { method: values[0], params: values[1] ?? [] };
    case 'member':
      expectChildren(element, ['name', 'value']);
      return values;
    case 'struct':
      // fromEntries makes a key such as __proto__ one like any other.
      return Object.fromEntries(values as [string, unknown][]);
    case 'params':
    case 'data':
      return values;
    case 'array':
      if (children.length === 0) return [];
      return onlyOne(element);
    default:
      return onlyOne(element);
  }
}

function onlyOne({ tag, children }: Element): unknown {
  const [only] = children;
  if (only === undefined || children.length > 1) {
    throw new NoCall(`<${tag}> holds ${children.length} elements; allowed: one`);
  }
  return only.value;
}

function expectChildren({ tag, children }: Element, wanted: readonly string[]): void {
  const found = children.map((child) => child.tag);
  if (found.join() === wanted.join()) return;
  throw new NoCall(`<${tag}> holds ${found.slice(0, 4).join(', ') || 'nothing'}; wanted: ${wanted.join(', ')}`);
}

function scalarOf(tag: string, text: string): unknown {
  const word = text.trim();
  switch (tag) {
    case 'string':
    case 'name':
      return text;
    case 'methodName':
    case 'dateTime.iso8601':
      return word;
    case 'nil':
    case 'ex:nil':
      if (word === '') return null;
      break;
    case 'boolean':
      if (word === '0' || word === '1') return word === '1';
      break;
    case 'double': {
      const number = parseFloatText(word);
      if (number !== undefined) return number;
      break;
    }
    default:
      if (/^[+-]?\d+$/.test(word)) return Number.isSafeInteger(Number(word)) ? Number(word) : word.replace('+', '');
  }
  throw new NoCall(`<${tag}> holds '${word.slice(0, 100)}', which is no such value`);
}
