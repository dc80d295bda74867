/**
 * What a dispatcher takes and gives, whatever the calls come in by, and the check of web pages that every dispatcher
 * makes.
 */
import { XapiError } from '../base/errors.js';
import type { CallOrigin } from './handlers.js';
import type { Type } from './value.js';

export interface Call {
  /** Name as it was sent, with its prefix. */
  readonly name: string;
  /** Parsed, not typed; the session comes first where the message has one. */
  readonly params: readonly unknown[];
  /** Whether the bytes of the call were UTF-8; broken ones stand as U+FFFD in the parameters. */
  readonly validUtf8: boolean;
  readonly origin: CallOrigin;
}

/** A result with its declared type, by which it is to be serialised. */
export interface TypedResult {
  readonly type: Type;
  readonly value: unknown;
}

/** @throws XapiError for every failure; nothing else */
export type Dispatch = (call: Call) => Promise<TypedResult>;

/** A failed call, as the log names it. */
export interface FailedCall {
  /** Name of a message of the model or of a host-level call; anything else is shown as `*`. */
  readonly name: string | undefined;
  /** Parameters as they were sent. */
  readonly params: readonly unknown[];
  readonly task?: string;
}

/**
 * Refuse a call of a web page that may not log in.
 *
 * @throws PERMISSION_DENIED [origin]
 */
export function assertNoForeignPage({ foreignPage }: CallOrigin): void {
  if (foreignPage === undefined) return;
  throw new XapiError('PERMISSION_DENIED', [foreignPage], 'the page is neither of this host nor in its cors-origins');
}
