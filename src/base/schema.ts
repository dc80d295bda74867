/** Values that come in, as a zod schema has them. */
import { z } from 'zod';
import { invalidValue, XapiError } from './errors.js';
import { isSecretName } from './log.js';

/** Characters that XML cannot carry: controls, halves of a surrogate pair, the two that are no characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
export const forbiddenInXml = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/u;

/** A URL that another host or pool names, to be called there. Nothing but http is spoken. */
export const httpUrl = z.url({ protocol: /^http$/, error: 'allowed: a URL of http' }).max(2048);

/** A text as clients may read and write it. */
export const clientText = z.string().refine(isClientText, 'characters that XML can carry');

/** A map of such texts with any keys, as it is: a record of zod's leaves out the key `__proto__`. */
export const clientTexts = z
  .custom<Readonly<Record<string, string>>>(isObject, 'a map')
  .superRefine((map, { addIssue }) => {
    for (const [key, value] of Object.entries(map)) {
      if (isClientText(key) && isClientText(value)) continue;
      addIssue({ code: 'custom', message: 'texts of characters that XML can carry', path: [key] });
    }
  });

function isClientText(value: unknown): boolean {
  return typeof value === 'string' && !forbiddenInXml.test(value);
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * The value as the schema has it.
 * @param field what the value is called in an error
 * @throws INVALID_VALUE that names the first part that is wrong, with what is there; what is wrong with the first ones
 *   is for the log
 */
export function parse<T>(schema: z.ZodType<T>, field: string, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const path = result.error.issues[0]?.path ?? [];
  let found = value;
  for (const name of path) found = (found as Record<PropertyKey, unknown> | null | undefined)?.[name];
  const shown = isSecretName(String(path.at(-1))) ? '***' : shownValue(found);
  throw new XapiError('INVALID_VALUE', [[field, ...path].map(String).join('.'), shown], reasonOf(result.error));
}

/** Say what is wrong, without the names of what should not be there: they are the sender's. */
function reasonOf({ issues }: z.ZodError): string {
  const texts = issues
    .slice(0, 5)
    .map(({ code, message }) => (code === 'unrecognized_keys' ? 'unknown keys' : message));
  return [...new Set(texts)].join('; ');
}

/**
 * The value of a text that is JSON.
 * @throws INVALID_VALUE [field, its beginning]
 */
export function parseJson(field: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalidValue(field, shownValue(text), 'JSON');
  }
}

/** Show a value as errors do: short, a text as it is, anything else as JSON where it has one. */
export function shownValue(value: unknown): string {
  if (typeof value === 'string') return value.slice(0, 300);
  try {
    return (JSON.stringify(value) ?? '').slice(0, 300);
  } catch {
    return typeof value;
  }
}
