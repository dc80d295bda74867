/** Errors as xe prints them. */
import { errors } from '../../../idl/index.js';
import { messageOf, XapiError } from '../../base/errors.js';
import { usage } from './command-line.js';
import { allowedValues, descriptions } from './error-text.js';
import { nameReferences, type Objects } from './record.js';

const parameterNames: Readonly<Record<string, readonly string[]>> = errors;

/**
 * The lines that xe prints for an error: for one that the server answered, what its code means and `name: value` for each
 * parameter, objects with their uuid and name; for one of our own, `Error: ...`; for a mistake in how the command was written,
 * what it is and where to find help.
 * @param objects where a session is open, to look objects up
 */
export async function errorLines(error: unknown, objects?: Objects): Promise<string[]> {
  const help = "For usage run: 'xe help'";
  if (!(error instanceof XapiError)) {
    const misused = error instanceof Error && error.cause === usage;
    return misused ? [messageOf(error), help] : [`Error: ${messageOf(error)}`];
  }
  if (error.code === 'SESSION_AUTHENTICATION_FAILED') return ['Authentication failed', help];
  const { params } = objects === undefined ? error : await withNames(error, objects);
  if (!Object.hasOwn(parameterNames, error.code))
    return [`Error code: ${error.code}`, `Error parameters: ${params.join(', ')}`];
  const names = parameterNames[error.code] ?? [];
  // The last one may be a list, such as that of the VIFs on a network.
  const whole = Math.max(0, names.length - 1);
  const values = params.length <= names.length ? params : [...params.slice(0, whole), params.slice(whole).join(', ')];
  const count = Math.max(names.length, values.length);
  const lines = Array.from({ length: count }, (_, i) => `${names[i] ?? '<extra>'}: ${values[i] ?? '<unknown>'}`);
  const allowed = error.code === 'INVALID_VALUE' ? allowedValues[error.params[0] ?? ''] : undefined;
  if (allowed !== undefined) lines.push(`allowed: ${allowed}`);
  return [descriptions[error.code] ?? `The server refused: ${error.code}.`, ...lines];
}

/** Give the lines of an error as one, for what fails beside other things. */
export async function errorLine(error: unknown, objects: Objects): Promise<string> {
  if (!(error instanceof XapiError)) return messageOf(error);
  const [meaning = '', ...values] = await errorLines(error, objects);
  return `${meaning} ${values.join('; ')}`.trim();
}

/**
 * An error whose parameters have names for references, as far as these objects are meant: another pool does not know
 * ours.
 */
export async function withNames(error: XapiError, objects: Objects): Promise<XapiError> {
  const params = await Promise.all(error.params.map((param) => nameReferences(objects, param)));
  return new XapiError(error.code, params, error);
}
