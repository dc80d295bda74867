import { XapiError } from '../../src/base/errors.js';

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
