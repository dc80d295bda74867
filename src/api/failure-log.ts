/**
 * What the log has of a call that failed: nothing that its caller sent, and no more than 256 bytes beside those of the request.
 *
 * An error's parameters are what a caller gets to see, so they quote what it sent: a session, a password, anything of any
 * length. Of them the log has the words of the data model alone, which tell nothing of the caller, and `*` for the others.
 */

import { classes, enums } from '../../idl/index.js';
import { defined } from '../base/defined.js';
import { messageOf, toXapiError, type XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { FailedCall } from '../model/dispatch.js';
import { surface } from '../model/surface.js';
import { WrongType } from './typed-value.js';

/** Characters that each part of a line has at most; together they stay below the limit. */
const longest = { parameters: 64, reason: 120, what: 80, trace: 80 };
/** What has so many characters in common with something that was sent may be part of it. */
const likeness = 4;
/** More than this is not searched: what it may be part of is not shown. */
const mostSearched = 65_536;

const words: ReadonlySet<string> = new Set([
  ...[...surface.values()].flatMap(({ name, cls, method, params }) => [
    ...[name, name.toLowerCase(), cls, method],
    ...params.map((param) => param.name),
  ]),
  ...Object.values(classes).flatMap(({ fields }) => Object.keys(fields)),
  ...Object.values(enums).flat(),
]);

/**
 * Log a failed call: an error of the caller at debug, what is explained in words at info, and what only the operator
 * can mend at error, with where it came from.
 */
export function logFailure(log: Log, { name = '*', params, task }: FailedCall, failure: XapiError): void {
  const { cause } = failure;
  const isWrongType = cause instanceof WrongType;
  const isInternal = failure.code === 'INTERNAL_ERROR' && !isWrongType;
  const level = isInternal ? 'error' : typeof cause === 'string' ? 'info' : 'debug';
  if (!log.enabled(level)) return;
  const fields = { call: name, ...defined({ task }) };
  if (isWrongType) {
    const { parameter, expected, found } = cause;
    log[level]('call failed', { ...fields, error: failure.code, parameter, expected, found });
    return;
  }
  log[level]('call failed', {
    ...fields,
    error: isInternal ? failure.code : withoutSent(failure),
    ...(isInternal && describeError(failure, params)),
    ...(level === 'info' && { reason: String(cause).slice(0, longest.reason) }),
  });
}

/**
 * An error that is not the caller's doing, in short: its text and where it came from.
 * @param sent what it may quote: a text that has a part of that is left out
 */
export function describeError(
  error: unknown,
  sent: readonly unknown[],
): { readonly what: string; readonly at: string } {
  const failure = toXapiError(error);
  const root = failure.cause instanceof Error ? failure.cause : failure;
  const text = messageOf(root).slice(0, longest.what);
  return { what: `${root.name}: ${mayQuote(text, sent) ? '***' : text}`.slice(0, longest.what), at: traceOf(root) };
}

/** An error's code and parameters, of which those that are no words of the model are left out. */
function withoutSent({ code, params }: XapiError): string {
  return [code, ...params.map(wordsIn)].join(' ').slice(0, code.length + longest.parameters);
}

function wordsIn(param: string): string {
  if (words.has(param)) return param;
  const [head = '', ...rest] = param.slice(0, longest.parameters).split(/[.:]/);
  return rest.length > 0 && words.has(head) ? `${head}:*` : '*';
}

/** The innermost places in the code, such as `typed-value.js:33 < dispatch.js:70`. */
function traceOf({ stack = '' }: Error): string {
  const places = [...stack.matchAll(/^ +at (?:.*[/(])?([\w.-]+:\d+):\d+\)?$/gm)].map(([, place]) => place);
  return places.slice(0, 5).join(' < ').slice(0, longest.trace);
}

/** Tell whether a text has a part in common with anything that was sent, in names and numbers too. */
function mayQuote(text: string, sent: readonly unknown[]): boolean {
  const folded = text.toLowerCase();
  let searched = 0;
  const rest: unknown[] = [...sent];
  while (rest.length > 0) {
    const next = rest.pop();
    if (typeof next === 'object' && next !== null) {
      for (const [name, inner] of Object.entries(next)) rest.push(...(Array.isArray(next) ? [] : [name]), inner);
      continue;
    }
    const found = String(next).toLowerCase();
    searched += found.length;
    if (searched > mostSearched || isPart(found, folded)) return true;
  }
  return false;
}

function isPart(sent: string, text: string): boolean {
  if (sent.length <= likeness) return sent !== '' && text.includes(sent);
  for (let at = 0; at + likeness <= text.length; at += 1) if (sent.includes(text.slice(at, at + likeness))) return true;
  return false;
}
