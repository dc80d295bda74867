/** The command line of the daemon: every key of xenopsd.conf as an option, and a few of its own. */
import { configKeyNames, configKeys, isConfigKey, nearestKey } from './keys.js';
import { bool } from './values.js';

/** Character that Node reads in the place of bytes that are not UTF-8. */
const replacementCharacter = '\uFFFD';

/** Contents of the daemon's command line. */
export interface CommandLine {
  /** The configuration file, `--config`. */
  readonly file?: string;
  /** Check the configuration, print it and end. */
  readonly checkConfig: boolean;
  readonly help: boolean;
  readonly version: boolean;
  /** Copy the database to this directory, and end: `--backup-database`. */
  readonly backupTo?: string;
  /** The options that are keys, for `readConfig`. */
  readonly args: readonly string[];
}

/**
 * Take the options that are no keys out of a command line, which comes without the program's own name.
 * @throws an Error where it is not UTF-8: it would name something else
 */
export function readCommandLine(argv: readonly string[]): CommandLine {
  const [unreadable] = argv.filter((arg) => arg.includes(replacementCharacter));
  if (unreadable !== undefined) throw new Error(`command line: ${unreadable}: has bytes that are not UTF-8`);
  const flags = new Set<string>();
  const args: string[] = [];
  const own: { file?: string; backupTo?: string } = {};
  for (let index = 0; index < argv.length; index++) {
    const arg = argv[index] ?? '';
    if (['--check-config', '--help', '-h', '--version'].includes(arg)) flags.add(arg);
    else {
      const [, name, inline] = /^(--config|--backup-database)(?:=(.*))?$/s.exec(arg) ?? [];
      const value = inline ?? (index + 1 < argv.length ? argv[index + 1] : undefined);
      if (name === undefined || value === undefined) {
        args.push(arg);
        continue;
      }
      if (inline === undefined) index++;
      own[name === '--config' ? 'file' : 'backupTo'] = value;
    }
  }
  return {
    ...own,
    checkConfig: flags.has('--check-config'),
    help: flags.has('--help') || flags.has('-h'),
    version: flags.has('--version'),
    args,
  };
}

/**
 * The keys that command-line options set: `--key value`, `--key=value`, and `--key` alone for one that is true or false.
 * @returns the settings in the order given, and what is wrong with other arguments
 */
export function parseOptions(args: readonly string[]): {
  entries: { key: string; value: string }[];
  problems: string[];
} {
  const entries: { key: string; value: string }[] = [];
  const problems: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? '';
    const [, key = '', inline] = /^--([^=]+)(?:=(.*))?$/s.exec(arg) ?? [];
    const next = args[index + 1];
    if (!isConfigKey(key)) {
      problems.push(unknownOption(arg, key));
      if (key && inline === undefined && next?.startsWith('--') === false) index++;
    } else if (inline !== undefined) entries.push({ key, value: inline });
    else if (configKeys[key].type === bool && bool.parse(next ?? '', '') === undefined)
      entries.push({ key, value: 'true' });
    else if (next === undefined) problems.push(`${arg}: needs a value; allowed is ${configKeys[key].type.allowed}`);
    else {
      entries.push({ key, value: next });
      index++;
    }
  }
  return { entries, problems };
}

function unknownOption(arg: string, key: string): string {
  if (key === 'config') return '--config: needs the path of a file';
  if (key === 'backup-database') return '--backup-database: needs the path of a directory';
  const near = key && nearestKey(key);
  return `${arg}: no such option${near ? `; did you mean --${near}?` : ', see --help'}`;
}

/** The lines of `--help` that tell of the options. */
export function optionsHelp(): string[] {
  const own = [
    ['--config FILE', 'The configuration file.'],
    ['--check-config', 'Print the configuration in effect and what is wrong with it, and end.'],
    [
      '--backup-database DIR',
      'Copy the database to a directory, which is made or is empty, and end. The daemon may run.',
    ],
    ['--help, -h', 'Print this and end.'],
    ['--version', 'Print the version and end.'],
  ] as const;
  const keys = configKeyNames.map((name) => {
    const { doc, default: standard, derived } = { derived: undefined, ...configKeys[name] };
    return [`--${name} VALUE`, `${doc} Default: ${standard || derived}.`] as const;
  });
  return [...own, ...keys].flatMap(([option, doc]) => [`  ${option}`, `      ${doc}`]);
}
