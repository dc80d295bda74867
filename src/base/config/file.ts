/**
 * The syntax of xenopsd.conf: a `key = value` a line, `#` comments to the end of the line, optional quotes around the value.
 *
 * Each line is decoded by npm `ini`, whose rules hold for the split at `=`, space around key and value, comments and the
 * escapes `\#` and `\\`. The layer here is for what ini does otherwise or not at all: it keeps the number of each line, takes
 * what is in quotes literally (ini reads it as JSON, and keeps the quotes when a comment follows), takes `;` as a letter (in
 * ini it begins a comment), leaves true, false and null text, and reports sections, lines without `=` and quotes that do not
 * close, which ini lets pass.
 */
import ini from 'ini';

/** Setting as it was written. */
export interface Entry {
  readonly key: string;
  readonly value: string;
  /** Counted from 1. */
  readonly line: number;
}

export interface SyntaxProblem {
  readonly line: number;
  readonly message: string;
}

/**
 * Read the text of a configuration file.
 * @returns every setting in the order of the file, repeated ones as well, and what is wrong with other lines
 */
export function parseConfigText(text: string): { entries: Entry[]; problems: SyntaxProblem[] } {
  const entries: Entry[] = [];
  const problems: SyntaxProblem[] = [];
  const lines = text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/);
  for (const [index, raw] of lines.entries()) {
    const parsed = parseLine(raw.trim());
    if (typeof parsed === 'string') problems.push({ line: index + 1, message: parsed });
    else if (parsed) entries.push({ ...parsed, line: index + 1 });
  }
  return { entries, problems };
}

/** The setting of a line, undefined for a line without one, or what is wrong. */
function parseLine(line: string): { key: string; value: string } | string | undefined {
  if (line === '' || line.startsWith('#')) return undefined;
  if (line.startsWith('[')) return `"${line}": there are no sections; allowed is key = value`;
  const split = line.indexOf('=');
  const key = line.slice(0, Math.max(split, 0)).trim();
  if (!/^[^\s"'#;]+$/.test(key)) return `"${line}" is not a setting; allowed is key = value`;
  const value = line.slice(split + 1).trim();
  if (value.startsWith('"') || value.startsWith("'")) return parseQuoted(key, value);
  return { key, value: decodeUnquoted(value) };
}

function parseQuoted(key: string, value: string): { key: string; value: string } | string {
  const end = value.indexOf(value.charAt(0), 1);
  if (end < 0) return `${key} = ${value}: the quote does not close`;
  const rest = value.slice(end + 1).trim();
  if (rest !== '' && !rest.startsWith('#')) return `${key} = ${value}: allowed after the quotes is a # comment alone`;
  return { key, value: value.slice(1, end) };
}

function decodeUnquoted(value: string): string {
  const lettersKept = value.replace(/\\.|;/g, (match) => (match === ';' ? '\\;' : match));
  return String(ini.decode(`value = ${lettersKept}`).value);
}
