/**
 * The first checks of a call, those that need its name and parameters alone: UTF-8, name, arity, types.
 */

import { XapiError } from '../base/errors.js';
import { forbiddenInXml } from '../base/schema.js';
import { type Message, surface, underscored } from '../model/surface.js';
import { fieldsOf, type Type } from '../model/value.js';
import { decodeValue, describe, isObject } from './typed-value.js';

/** @throws INVALID_VALUE for a parameter with bytes that are no UTF-8, or with characters that XML cannot carry */
export function assertText(call: { readonly params: readonly unknown[]; readonly validUtf8: boolean }): void {
  const isBad = (text: string) => forbiddenInXml.test(text) || (!call.validUtf8 && text.includes('\ufffd'));
  const bad = call.params.find((param) => someText(param, isBad));
  if (bad === undefined && call.validUtf8) return;
  throw new XapiError('INVALID_VALUE', ['Invalid UTF-8 string in parameter', describe(bad)]);
}

/** Tell whether any text in parsed JSON, keys too, meets a condition. */
function someText(json: unknown, condition: (text: string) => boolean): boolean {
  const rest = [json];
  while (rest.length > 0) {
    const next = rest.pop();
    if (typeof next === 'string' && condition(next)) return true;
    if (typeof next !== 'object' || next === null) continue;
    if (!Array.isArray(next) && Object.keys(next).some(condition)) return true;
    for (const inner of Object.values(next)) rest.push(inner);
  }
  return false;
}

export interface ResolvedName {
  readonly prefix: '' | 'Async.' | 'InternalAsync.';
  /** The name without its prefix, as it was sent. */
  readonly bare: string;
  readonly message: Message | undefined;
}

/** The message that a call names, as `Class.method` with or without a prefix, or as `Class_method` without one. */
export function resolveName(name: string): ResolvedName {
  const prefix = (['Async.', 'InternalAsync.'] as const).find((each) => name.startsWith(each)) ?? '';
  const bare = name.slice(prefix.length);
  const message = surface.get(bare) ?? (prefix === '' ? underscored.get(bare) : undefined);
  return { prefix, bare, message };
}

/**
 * The typed parameters of a message, those left out filled in, without the session.
 * @param bare the name to show in errors
 * @throws MESSAGE_PARAMETER_COUNT_MISMATCH, INTERNAL_ERROR
 */
export function bindParams(message: Message, bare: string, params: readonly unknown[]): unknown[] {
  const given = params.length - (message.session ? 1 : 0);
  const { length } = message.params;
  // Messages with defaults ignore what is left over.
  if (given < message.required || (given > length && message.required === length)) {
    throw new XapiError('MESSAGE_PARAMETER_COUNT_MISMATCH', [bare, String(message.required), String(given)]);
  }
  if (message.session) decodeValue({ kind: 'string' }, params[0], 'session_id');
  // Nothing but the session is looked at: a removed message has no use for the rest.
  if (message.removed) return [];
  const sent = message.session ? params.slice(1) : params;
  return message.params.map((param, index) =>
    index < sent.length
      ? decodeValue(param.type, settable(param.type, sent[index]), param.name)
      : param.makeDefault?.(),
  );
}

/**
 * Records come in for constructors alone, and of these the fields that a caller may set. Clients send whole records; what
 * stands in the others, or in fields that only other versions have, is not looked at.
 */
function settable(type: Type, sent: unknown): unknown {
  if (type.kind !== 'record' || !isObject(sent)) return sent;
  const known = fieldsOf(type.cls);
  return Object.fromEntries(
    Object.entries(sent).filter(([name]) => (known.get(name)?.model.qualifier ?? 'RO/runtime') !== 'RO/runtime'),
  );
}
