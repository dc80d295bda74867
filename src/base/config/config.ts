/**
 * The configuration of a daemon: xenopsd.conf, the fragments in its `config-dir`, and the command line, the later over the
 * earlier. It is read as a whole or refused as a whole: every problem is reported at once.
 */
import { isUtf8 } from 'node:buffer';
import { accessSync, constants, readdirSync, statfsSync } from 'node:fs';
import { homedir, hostname, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { messageOf } from '../errors.js';
import { NotUtf8Error, readTextFile } from '../named-file.js';
import { isEveryAddress } from '../server-address.js';
import { parseOptions } from './command-line.js';
import { parseConfigText } from './file.js';
import {
  type Config,
  type ConfigKey,
  configKeyNames,
  configKeys,
  type Environment,
  isConfigKey,
  type KeySpec,
  nearestKey,
  propertyOf,
} from './keys.js';

export type { Config, ConfigKey, Environment } from './keys.js';

export interface ConfigInit {
  /** The configuration file; without one, fragments and defaults and the command line are all there is. */
  readonly file?: string;
  /** Command-line options that are keys: `--port 8480`, `--port=8480`. */
  readonly args: readonly string[];
  /** Machine and user for which defaults are made; absent: those of this process. */
  readonly environment?: Environment;
}

/** Origin of a value. */
export type Origin =
  | { readonly kind: 'file'; readonly file: string; readonly line: number }
  | { readonly kind: 'command-line' }
  | { readonly kind: 'default' };

export interface LoadedConfig {
  readonly config: Config;
  readonly origins: Readonly<Record<ConfigKey, Origin>>;
  /** Warnings for the log: unknown keys, values that act as another, settings without effect. */
  readonly warnings: readonly string[];
  /** Warnings of values that act as another, by key. */
  readonly valueWarnings: Readonly<Partial<Record<ConfigKey, string>>>;
}

/** What is wrong with a configuration: a line for each problem, with file, line, key, value and what is allowed. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/**
 * Read the configuration.
 * @throws ConfigError with every problem of every file and option
 */
export function readConfig(init: ConfigInit): LoadedConfig {
  const { loaded, problems } = collectConfig(init);
  if (problems.length > 0) throw new ConfigError(problems);
  return loaded;
}

/** The configuration as far as it can be read, the default in the place of a bad value, and what is wrong with it. */
export function collectConfig(init: ConfigInit): { loaded: LoadedConfig; problems: string[] } {
  const environment = init.environment ?? thisMachine();
  const gathered = gatherSettings(init, environment);
  const read = new Map<ConfigKey, Read>();
  for (const setting of gathered.settings) {
    const parsed = readSetting(setting, environment);
    if (parsed) read.set(setting.key, { ...parsed, setting });
    else gathered.problems.push(badValue(setting));
  }
  const config = Object.fromEntries(
    configKeyNames.map((key) => [propertyOf(key), effectiveValue(key, read, environment)]),
  ) as unknown as Config;
  const origins = Object.fromEntries(
    configKeyNames.map((key) => [key, read.get(key)?.setting.origin ?? { kind: 'default' }]),
  ) as Record<ConfigKey, Origin>;
  const byKey = valueWarnings(read);
  const warnings = [...gathered.warnings, ...Object.values(byKey), ...addressWarnings(config, read)];
  return { loaded: { config, origins, warnings, valueWarnings: byKey }, problems: gathered.problems };
}

interface Setting {
  readonly key: ConfigKey;
  readonly text: string;
  readonly origin: Origin;
  /** Directory that relative paths start from. */
  readonly directory: string;
}

interface Read {
  readonly setting: Setting;
  readonly value: unknown;
  readonly warning?: string;
}

interface Gathered {
  /** The later over the earlier. */
  readonly settings: Setting[];
  readonly problems: string[];
  readonly warnings: string[];
  /** Characters of all files. */
  size: number;
}

/** More than any configuration needs, in all its files: they are read again while the daemon serves. */
const mostCharacters = 2 ** 20;

function gatherSettings(init: ConfigInit, environment: Environment): Gathered {
  const options = parseOptions(init.args);
  const given = options.entries.map(({ key, value }) => ({
    key: key as ConfigKey,
    text: value,
    origin: { kind: 'command-line' as const },
    directory: environment.directory,
  }));
  const gathered: Gathered = { settings: [], problems: [], warnings: [], size: 0 };
  if (init.file !== undefined) gatherFile(resolve(environment.directory, init.file), gathered);
  const named = [...gathered.settings, ...given].findLast(({ key }) => key === 'config-dir');
  for (const fragment of listFragments(named, gathered)) {
    gatherFile(fragment, gathered, named?.origin);
    if (gathered.size <= mostCharacters) continue;
    gathered.problems.push(
      `${fragment}: with it the configuration has more than ${mostCharacters / 2 ** 10} KiB in all`,
    );
    break;
  }
  gathered.settings.push(...given);
  gathered.problems.push(...options.problems);
  return gathered;
}

function gatherFile(file: string, gathered: Gathered, configDir?: Origin): void {
  let text: string;
  try {
    text = readTextFile(file);
    gathered.size += text.length;
  } catch (error) {
    const at = error instanceof NotUtf8Error ? `${file}:${error.line}` : file;
    gathered.problems.push(`${at}: cannot be read: ${messageOf(error)}`);
    return;
  }
  const { entries, problems } = parseConfigText(text);
  gathered.problems.push(...firstOf(problems, file, ({ line, message }) => `${file}:${line}: ${message}`));
  const unknown = entries.filter(({ key }) => !isConfigKey(key));
  gathered.warnings.push(...firstOf(unknown, file, ({ key, line }) => unknownKey(`${file}:${line}: ${key}`, key)));
  for (const { key, value, line } of entries) {
    if (!isConfigKey(key)) continue;
    if (key === 'config-dir' && configDir)
      gathered.warnings.push(`${file}:${line}: ${key} has no effect in a file of the config-dir`);
    else gathered.settings.push({ key, text: value, origin: { kind: 'file', file, line }, directory: dirname(file) });
  }
}

/** A file that is none of ours can have any number: so many are told each by itself. */
const mostTold = 50;

function firstOf<T>(all: readonly T[], file: string, tell: (each: T) => string): string[] {
  const rest = all.length - mostTold;
  return [...all.slice(0, mostTold).map(tell), ...(rest > 0 ? [`${file}: and ${rest} lines more like these`] : [])];
}

function listFragments(named: Setting | undefined, gathered: Gathered): string[] {
  if (!named?.text) return [];
  const directory = resolve(named.directory, named.text);
  try {
    const names = readdirSync(directory, 'buffer').filter((name) => /^[^.].*\.conf$/s.test(name.toString('latin1')));
    const [unreadable] = names.filter((name) => !isUtf8(name));
    if (unreadable !== undefined) throw new Error(`the name ${unreadable} has bytes that are not UTF-8`);
    return names.map((name) => join(directory, name.toString())).sort();
  } catch (error) {
    // One that is not there yet has no fragments; of any other they would be lost.
    const isAbsent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    (isAbsent ? gathered.warnings : gathered.problems).push(
      `${formatOrigin(named.origin)}: config-dir = ${directory}: cannot be read: ${messageOf(error)}`,
    );
    return [];
  }
}

function unknownKey(at: string, key: string): string {
  const near = nearestKey(key);
  return `${at} is not a known key and has no effect${near ? `; did you mean ${near}?` : ''}`;
}

/** @returns undefined where the value is not allowed */
function readSetting(
  { key, text, directory }: Setting,
  environment: Environment,
): { value: unknown; warning?: string } | undefined {
  const spec: KeySpec<unknown> = configKeys[key] as KeySpec<never>;
  if (text === '' && spec.derive) return { value: undefined };
  return spec.type.parse(text, directory || environment.directory);
}

function badValue({ key, text, origin }: Setting): string {
  return `${formatOrigin(origin)}: ${key} = ${text || '(nothing)'}: allowed is ${configKeys[key].type.allowed}`;
}

/** The value that was read, or what the key's empty or absent value stands for. */
function effectiveValue(key: ConfigKey, read: ReadonlyMap<ConfigKey, Read>, environment: Environment): unknown {
  const value = read.get(key)?.value;
  if (value !== undefined) return value;
  const spec: KeySpec<unknown> = configKeys[key] as KeySpec<never>;
  if (spec.derive) return spec.derive(environment, (other) => String(effectiveValue(other, read, environment)));
  return spec.type.parse(spec.default, environment.directory)?.value;
}

function valueWarnings(read: ReadonlyMap<ConfigKey, Read>): Partial<Record<ConfigKey, string>> {
  return Object.fromEntries(
    [...read].flatMap(([key, { setting, warning }]) =>
      warning === undefined ? [] : [[key, `${formatOrigin(setting.origin)}: ${key}: ${warning}`]],
    ),
  );
}

function addressWarnings(config: Config, read: ReadonlyMap<ConfigKey, Read>): string[] {
  if (read.get('address')?.value || !isEveryAddress(config.listenAddress)) return [];
  return [`address is not set: other hosts and clients are told to reach this one as ${config.address}`];
}

/** A value as it would be written in the file. */
export function formatValue(key: ConfigKey, config: Config): string {
  const spec: KeySpec<unknown> = configKeys[key] as KeySpec<never>;
  return spec.type.format(config[propertyOf(key)]);
}

/** Where a value comes from, in words: `/etc/xenopsd.conf:3`, `command line` or `default`. */
export function formatOrigin(origin: Origin): string {
  if (origin.kind === 'file') return `${origin.file}:${origin.line}`;
  return origin.kind === 'default' ? 'default' : 'command line';
}

/** The machine and the user that this process runs on and as. */
export function thisMachine(): Environment {
  const limit = process.constrainedMemory() || Number.POSITIVE_INFINITY;
  return {
    variables: process.env,
    isRoot: process.getuid?.() === 0,
    home: homedir(),
    hostName: hostname(),
    directory: process.cwd(),
    memoryBytes: Math.min(totalmem(), limit),
    sharedMemoryBytes: sharedMemorySize(),
  };
}

function sharedMemorySize(): number {
  try {
    accessSync('/dev/shm', constants.W_OK);
    const { blocks, bsize } = statfsSync('/dev/shm');
    return blocks * bsize;
  } catch {
    return 0;
  }
}
