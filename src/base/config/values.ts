/**
 * The types of values that xenopsd.conf has: how the text of each is read, what to call what is allowed, and how a value is
 * written again. A type knows nothing of files and keys.
 */
import { resolve } from 'node:path';
import { type CompressionLevel, compressionLevelAllowed, parseCompressionLevel } from '../protocol/emu-protocol.js';
import { pageOrigin, serverOrigin } from '../server-address.js';
import { bytesOf, sizeForms } from '../size.js';

/** A value that was read, and a warning where it was taken to mean something else than it says. */
interface ParsedValue<T> {
  readonly value: T;
  readonly warning?: string;
}

export interface ValueType<T> {
  /** Allowed values, in words that end a sentence: `a whole number from 1 to 1024`. */
  readonly allowed: string;
  /**
   * @param text the text without quotes and surrounding space
   * @param directory what a relative path starts from
   * @returns undefined where the text is not allowed
   */
  parse(text: string, directory: string): ParsedValue<T> | undefined;
  format(value: T): string;
}

function valueType<T>(
  allowed: string,
  parse: (text: string, directory: string) => T | undefined,
  format: (value: T) => string = String,
): ValueType<T> {
  return {
    allowed,
    parse(text, directory) {
      const value = parse(text, directory);
      return value === undefined ? undefined : { value };
    },
    format,
  };
}

/** A whole number within limits, both of them allowed. */
export function integer(least: number, most: number): ValueType<number> {
  return valueType(`a whole number from ${least} to ${most}`, (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    return value >= least && value <= most ? value : undefined;
  });
}

/** `auto`, or a level of zstd that in-stream compression has. */
export const compressionLevel: ValueType<CompressionLevel> = valueType(compressionLevelAllowed, parseCompressionLevel);

const secondsIn: Readonly<Record<string, number>> = { ms: 0.001, '': 1, s: 1, m: 60, h: 3600 };
/** The longest time that a Node timer can wait is 2^31 milliseconds, which is a little more. */
const mostSeconds = 2_000_000;

/** A time in seconds; `30`, `0.5`, `500ms`, `30s`, `20m` and `1h` are ways to write one. */
export const duration: ValueType<number> = valueType(
  `a time in seconds (or with ms, s, m or h), more than 0 and at most ${mostSeconds} seconds`,
  (text) => {
    const match = /^(\d+\.?\d*) ?(ms|s|m|h|)$/i.exec(text);
    if (!match) return undefined;
    const value = Number(match[1]) * (secondsIn[match[2]?.toLowerCase() ?? ''] ?? Number.NaN);
    return value > 0 && value <= mostSeconds ? value : undefined;
  },
);

/** A size in bytes; see base/size. */
export const size = sizeFrom(2 ** 20, `${sizeForms}, such as 512MiB or 4GiB, at least 1MiB`);
export const sizeOrNone = sizeFrom(0, `${sizeForms}, such as 512KiB or 4MiB, or 0`);

function sizeFrom(least: number, allowed: string): ValueType<number> {
  const read = (text: string): number | undefined => {
    const value = bytesOf(text);
    return value !== undefined && value >= least && Number.isSafeInteger(value) ? value : undefined;
  };
  return valueType(allowed, read, formatSize);
}

/** The size in the largest unit that leaves it whole. */
function formatSize(bytes: number): string {
  if (bytes === 0) return '0';
  if (bytes % 2 ** 30 === 0) return `${bytes / 2 ** 30}GiB`;
  if (bytes % 2 ** 20 === 0) return `${bytes / 2 ** 20}MiB`;
  return bytes % 2 ** 10 === 0 ? `${bytes / 2 ** 10}KiB` : String(bytes);
}

const booleans: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  1: true,
  false: false,
  no: false,
  off: false,
  0: false,
};

/** true, yes, on, 1 or false, no, off, 0, in any case. */
export const bool: ValueType<boolean> = valueType('true or false (or yes, on, 1, no, off, 0)', (text) => {
  const word = text.toLowerCase();
  return Object.hasOwn(booleans, word) ? booleans[word] : undefined;
});

/** Make the type of a value that is one of some words, in any case, with other names for some of them. */
export function choice<const W extends string>(
  words: readonly W[],
  synonyms: Readonly<Record<string, W>> = {},
): ValueType<W> {
  return valueType(oneOf(words), (text) => {
    const other = text.toLowerCase();
    return findWord(words, text) ?? (Object.hasOwn(synonyms, other) ? synonyms[other] : undefined);
  });
}

/** One of some words, in any case; anything else is a warning that quotes it, and acts as the word given. */
export function choiceOr<const W extends string>(words: readonly W[], otherwise: NoInfer<W>): ValueType<W> {
  const allowed = oneOf(words);
  return {
    allowed,
    parse(text) {
      const value = findWord(words, text);
      if (value !== undefined) return { value };
      return { value: otherwise, warning: `"${text}" is not known and acts as ${otherwise}; allowed is ${allowed}` };
    },
    format: String,
  };
}

function oneOf(words: readonly string[]): string {
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

function findWord<W extends string>(words: readonly W[], text: string): W | undefined {
  return words.find((word) => word.toLowerCase() === text.toLowerCase());
}

/** A path, made absolute; empty where nothing is meant. */
export const path: ValueType<string> = valueType('a path', (text, directory) =>
  text.includes('\0') ? undefined : text && resolve(directory, text),
);

/**
 * `stderr`; `syslog:` and a name for the log of the system; or a path, made absolute. Names of other kinds of log, which have a
 * colon, are refused.
 */
export const logDestination: ValueType<string> = valueType(
  'stderr, syslog: and a name such as syslog:xenopsd, or the path of a file',
  (text, directory) => {
    const [, tag] = /^syslog:([\w.-]{1,32})$/i.exec(text) ?? [];
    if (tag !== undefined) return `syslog:${tag}`;
    if (text === '' || /^[a-z]+:/i.test(text)) return undefined;
    return text.toLowerCase() === 'stderr' ? 'stderr' : path.parse(text, directory)?.value;
  },
);

/** A program: its name, to be found by PATH, or its path. */
export const program: ValueType<string> = valueType('the name or the path of a program', (text, directory) => {
  if (text === '') return undefined;
  return text.includes('/') ? path.parse(text, directory)?.value : text;
});

/** An IP address or a host's name. */
export const hostAddress: ValueType<string> = valueType('an IP address or the name of a host', (text) =>
  /^[a-z0-9][a-z0-9.-]*$|^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(text) ? text : undefined,
);

/** A name that people read; any text of one line. */
export const label: ValueType<string> = valueType('a name', (text) => text);

/** A user of the system, by name or number, perhaps with a group behind a colon; empty where nothing is meant. */
export const userName: ValueType<string> = valueType(
  'the name or number of a user, such as qemu or 1000, perhaps with a colon and a group behind it',
  (text) => (/^([a-z_0-9][\w.-]*(:[a-z_0-9][\w.-]*)?)?$/i.test(text) ? text : undefined),
);

/** An http URL, of which the origin counts; empty where nothing is meant. */
export const httpUrl: ValueType<string> = valueType('a URL of http, such as http://192.0.2.1:8480', (text) => {
  if (!/^(http:|$)/i.test(text)) return undefined;
  try {
    return text && serverOrigin(text, '80');
  } catch {
    return undefined;
  }
});

/**
 * Origins of web pages, separated by spaces or commas, each once and in the form in which browsers send it; empty where
 * none is meant.
 */
export const pageOrigins: ValueType<readonly string[]> = valueType(
  'a list of origins, each http:// or https:// with a host and perhaps a port and nothing behind it, such as https://xo.example or http://192.0.2.1:8080, separated by spaces or commas',
  (text) => {
    const origins = text.split(/[\s,]+/).filter((each) => each !== '');
    const read = origins.flatMap((each) => pageOrigin(each) ?? []);
    return read.length === origins.length ? [...new Set(read)] : undefined;
  },
  (origins) => origins.join(' '),
);
