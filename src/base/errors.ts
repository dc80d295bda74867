/**
 * The one error class. Its codes are those of the XenAPI; an error that comes from elsewhere (Node, a library, a child, a
 * peer) is converted once, where it enters, by `toXapiError`.
 */
// Not the index: helper programs, which start for every migration, need no class of the model.
import { type ErrorCode, errors } from '../../idl/errors.js';

/** `Fault` is what xapi answers where it has no code of its own. */
export type XapiErrorCode = ErrorCode | 'Fault';

export class XapiError extends Error {
  readonly code: XapiErrorCode;
  readonly params: readonly string[];

  /**
   * @param code one of the XenAPI's error codes
   * @param params its parameters, in the order in which `idl/errors.ts` names them
   * @param cause what brought it about, or in words what its parameters have no room for; for the log
   */
  constructor(code: XapiErrorCode, params: readonly string[] = [], cause?: unknown) {
    super([code, ...params].join(' '), cause === undefined ? undefined : { cause });
    this.name = 'XapiError';
    this.code = code;
    this.params = params;
  }
}

/**
 * INVALID_VALUE for what a field or parameter cannot be.
 * @param allowed what it can be, for the log: the error's parameters are the field and the value alone
 */
export function invalidValue(field: string, value: unknown, allowed: string): XapiError {
  return new XapiError('INVALID_VALUE', [field, String(value)], `allowed: ${allowed}`);
}

/**
 * A reason for a refusal, which may never be thrown. It has no stack, as that is what an error costs: which operations
 * an object allows is asked with every change of it, and the reasons are mostly thrown away.
 */
export function reason(code: XapiErrorCode, params: readonly string[] = []): XapiError {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    return new XapiError(code, params);
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** The error as a XenAPI error: itself if it is one, else INTERNAL_ERROR with its text. */
export function toXapiError(error: unknown): XapiError {
  if (error instanceof XapiError) return error;
  return new XapiError('INTERNAL_ERROR', [messageOf(error)], error);
}

/** Whether the disk of the store had no room for what was to be written. */
export function isOutOfSpace(error: unknown): boolean {
  return error instanceof XapiError && error.code === 'OUT_OF_SPACE';
}

/** The text of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What an error says: its text, and of an internal one no more than that. */
export function sayingOf(error: unknown): string {
  return error instanceof XapiError && error.code === 'INTERNAL_ERROR' ? error.params.join(' ') : messageOf(error);
}

/** Tell whether a code that came over the wire is one that the model knows. */
export function isErrorCode(code: string): code is XapiErrorCode {
  return code === 'Fault' || Object.hasOwn(errors, code);
}
