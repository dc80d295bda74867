/** From a text on the command line to a value of the XenAPI. */
import { enums } from '../../../idl/index.js';
import { bytesOf, sizeForms } from '../../base/size.js';
import type { XapiSession } from '../client/xapi-client.js';
import { parseBool } from './command-line.js';
import { labels } from './fields/labels.js';
import { nullRef } from './record.js';

/**
 * A size; see base/size.
 * @param name of the parameter, for messages
 * @returns bytes
 * @throws an Error that names the parameter and what is allowed
 */
export function parseSize(name: string, text: string): number {
  const bytes = bytesOf(text);
  if (bytes === undefined) throw wrong(name, sizeForms, text);
  if (!Number.isSafeInteger(bytes)) throw wrong(name, 'a size of less than 8 PiB', text);
  return bytes;
}

/**
 * A number of things.
 * @throws an Error that names the parameter and what is allowed
 */
export function parseCount(name: string, text: string): number {
  if (!/^\d+$/.test(text)) throw wrong(name, 'a whole number', text);
  return Number(text);
}

/**
 * The value that a text stands for, by the written type of a field. A reference is given as a uuid, or as nothing for
 * none, a set with commas; what xe calls an enumeration's value is understood too, in any case. Integers keep their digits.
 * @param name of the parameter, for messages
 * @throws an Error that names the parameter and what is allowed; XapiError for a uuid that is not there
 */
export async function parseValue(session: XapiSession, name: string, type: string, text: string): Promise<unknown> {
  const member = /^set\((.*)\)$/.exec(type)?.[1];
  if (member !== undefined) {
    const words = text.split(',').filter((word) => word !== '');
    return Promise.all(words.map((word) => parseValue(session, name, member, word)));
  }
  const [kind, of = ''] = type.split(':');
  switch (kind) {
    case 'string':
      return text;
    case 'int':
      return parseInteger(name, text);
    case 'float':
      return parseFloatNumber(name, text);
    case 'bool':
      return parseBool(name, text);
    case 'enum':
      return parseEnum(name, of, text);
    case 'ref':
      return text === '' ? nullRef : session.call(`${of}.get_by_uuid`, text);
    default:
      throw new Error(`Parameter '${name}' cannot be set: its type is ${type}`);
  }
}

function parseInteger(name: string, text: string): string | number {
  if (name.startsWith('memory-')) return parseSize(name, text);
  if (!/^-?\d+$/.test(text)) throw wrong(name, 'an integer', text);
  return text;
}

function parseFloatNumber(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw wrong(name, 'a floating-point number', text);
  return value;
}

function parseEnum(name: string, of: string, text: string): string {
  const values: readonly string[] = Object.hasOwn(enums, of) ? enums[of as keyof typeof enums] : [];
  const label = (value: string) => labels[of]?.[value] ?? value;
  const same = (a: string) => a.toLowerCase() === text.toLowerCase();
  const found = values.find((value) => same(value) || same(label(value)));
  if (found === undefined) throw wrong(name, values.map(label).join(', '), text);
  return found;
}

function wrong(name: string, expected: string, text: string): Error {
  return new Error(`Failed to parse parameter '${name}': expecting ${expected}, not '${text}'`);
}
