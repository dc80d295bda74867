/** What is told of a configuration: the lines of `--check-config`, and what a reload changes. */
import {
  type Config,
  type ConfigInit,
  type ConfigKey,
  collectConfig,
  formatOrigin,
  formatValue,
  type LoadedConfig,
  readConfig,
} from './config.js';
import { configKeyNames, configKeys, type KeySpec, propertyOf } from './keys.js';
import { namedProblems } from './named.js';

/**
 * What `--check-config` prints: every key with its effective value and where that comes from, then notes, warnings and errors.
 * With errors the values are what they would be without the bad ones.
 * @param look at what the configuration names and this module knows nothing of: notes, and a line for each problem
 * @returns the lines, and the exit code: 0, or 1 where there are errors
 */
export async function checkConfig(
  init: ConfigInit,
  look: (loaded: LoadedConfig) => Promise<{ notes: readonly string[]; problems: readonly string[] }>,
): Promise<{ lines: string[]; exitCode: number }> {
  const { loaded, problems } = collectConfig(init);
  const seen = await look(loaded);
  const values = configKeyNames.map(
    (key) => `${key} = ${quoted(formatValue(key, loaded.config))}  # ${formatOrigin(loaded.origins[key])}`,
  );
  const warnings = loaded.warnings.map((warning) => `warning: ${warning}`);
  const notes = seen.notes.map((note) => `# ${note}`);
  const errors = [...problems, ...namedProblems(loaded), ...seen.problems].map((problem) => `error: ${problem}`);
  return { lines: [...values, ...notes, ...warnings, ...errors], exitCode: errors.length > 0 ? 1 : 0 };
}

/**
 * As a file needs it: in quotes with a `#`, a backslash, a quote at its beginning, or space around it; escaped, if it
 * has both quotes.
 */
function quoted(value: string): string {
  if (!/[#\\]|^["'\s]|\s$/.test(value)) return value;
  if (value.includes('"') && value.includes("'")) return value.replace(/[#\\]/g, '\\$&');
  const quote = value.includes('"') ? "'" : '"';
  return quote + value + quote;
}

/** Key whose value differs; both values as they would be written in the file. */
export interface ConfigChange {
  readonly key: ConfigKey;
  readonly oldValue: string;
  readonly newValue: string;
  /** Place of the new value; absent for the command line and defaults. */
  readonly file?: string;
  readonly line?: number;
  /** The key counts at the start alone: the new value has no effect before the next one. */
  readonly needsRestart: boolean;
}

/** The keys whose effective values differ, in the order of the table. */
export function diffConfig(old: LoadedConfig, latest: LoadedConfig): ConfigChange[] {
  return configKeyNames.flatMap((key) => {
    const [oldValue, newValue] = [formatValue(key, old.config), formatValue(key, latest.config)];
    if (oldValue === newValue) return [];
    const origin = latest.origins[key];
    const place = origin.kind === 'file' ? { file: origin.file, line: origin.line } : {};
    return [{ key, oldValue, newValue, ...place, needsRestart: countsAtStart(key) }];
  });
}

/**
 * Read the configuration again, for SIGHUP: keys that count at the start keep their values.
 * @returns the configuration from now on, with what changed and what would change at the next start
 * @throws ConfigError when the new one has a problem; the current one stays in effect then
 */
export function reloadConfig(
  current: LoadedConfig,
  init: ConfigInit,
): { loaded: LoadedConfig; changes: ConfigChange[] } {
  const latest = readConfig(init);
  const kept = configKeyNames.filter(countsAtStart);
  const config = { ...latest.config, ...Object.fromEntries(kept.map((key) => keptValue(key, current.config))) };
  const origins = { ...latest.origins, ...Object.fromEntries(kept.map((key) => [key, current.origins[key]])) };
  return { loaded: { ...latest, config, origins }, changes: diffConfig(current, latest) };
}

function keptValue(key: ConfigKey, config: Config): [string, unknown] {
  const property = propertyOf(key);
  return [property, config[property]];
}

function countsAtStart(key: ConfigKey): boolean {
  const spec: Pick<KeySpec<unknown>, 'atStart'> = configKeys[key];
  return spec.atStart === true;
}

/** A change in words, for the log: `/etc/xenopsd.conf:3: loglevel: info is now debug`. */
export function describeChange(change: ConfigChange): string {
  const place = change.file === undefined ? '' : `${change.file}:${change.line}: `;
  const [oldValue, newValue] = [change.oldValue || '(nothing)', change.newValue || '(nothing)'];
  if (change.needsRestart) return `${place}${change.key}: ${newValue} needs a restart; ${oldValue} stays in effect`;
  return `${place}${change.key}: ${oldValue} is now ${newValue}`;
}
