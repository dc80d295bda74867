import { toXapiError, XapiError } from '../../src/base/errors.js';

/**
 * The XenAPI error that a call throws.
 * @throws where it throws none, or another one
 */
export function refusalOf(act: () => unknown): XapiError {
  try {
    act();
  } catch (error) {
    if (error instanceof XapiError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

/** The code and parameters of the error with which a call fails; nothing for one that succeeds. */
export async function failureOf(call: () => unknown): Promise<string[]> {
  try {
    await call();
  } catch (error) {
    const { code, params } = toXapiError(error);
    return [code, ...params];
  }
  return [];
}
