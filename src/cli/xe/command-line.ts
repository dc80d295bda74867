/** The command line of xe: what names the server, what the command is, and its name=value parameters. */
import { messageOf } from '../../base/errors.js';
import { readTextFile } from '../../base/named-file.js';
import { serverForms } from '../../base/server-address.js';
import { type Credentials, serverUrl } from '../client/xapi-client.js';

/** Parameters in the order given; the first of a name counts. */
export type Params = readonly (readonly [name: string, value: string])[];

/** Parts of the command line and the environment that name the pool; each may be missing. */
export interface Connection {
  readonly server?: string;
  readonly port?: string;
  readonly username?: string;
  readonly password?: string;
  readonly passwordfile?: string;
}

type MutableConnection = { -readonly [K in keyof Connection]: Connection[K] };

export interface CommandLine {
  /** Undefined where no command is given. */
  readonly command: string | undefined;
  /** Words behind the command without a value: what `help` is asked about. */
  readonly words: readonly string[];
  readonly params: Params;
  readonly connection: Connection;
}

/** The environment's variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The cause of errors in how a command was written: they end with a pointer to the help. */
export const usage = Symbol('usage');

/** An error in how a command was written. */
export function usageError(message: string): Error {
  return new Error(message, { cause: usage });
}

const connectionSwitches: Readonly<Record<string, keyof Connection>> = {
  '-s': 'server',
  '-h': 'server',
  '-p': 'port',
  '-u': 'username',
  '-pw': 'password',
  '-pwf': 'passwordfile',
};

/**
 * Read a command line. `--x` is x=true; `-s -p -u -pw -pwf` take the next word; the rest is name=value, or words alone.
 * The words of XE_EXTRA_ARGS, with commas between them, are parameters too, which the command line overrides;
 * XE_SERVER, XE_USER, XE_PASSWORD and XE_PASSWORD_FILE stand in for what neither gives.
 * @param args the words after the program's name
 * @throws a usage error for a switch that is unknown or lacks its value
 */
export function parseCommandLine(args: readonly string[], env: Environment): CommandLine {
  const connection: MutableConnection = environmentConnection(env);
  const extra = takeConnection(extraArgs(env.XE_EXTRA_ARGS ?? ''), connection);
  const [first, ...rest] = takeConnection(args.map(asHelp), connection);
  const command = first === undefined ? undefined : commandOf(first);
  const all = [...rest, ...extra];
  const isWord = (word: string) => !word.startsWith('-') && !word.includes('=');
  return { command, words: all.filter(isWord), params: all.filter((word) => !isWord(word)).map(paramOf), connection };
}

/** The last word cannot be the switch -h, which takes a value: it is meant as other programs have it. */
function asHelp(word: string, index: number, words: readonly string[]): string {
  return word === '-h' && index === words.length - 1 ? '--help' : word;
}

/** A command, or what other programs take for a question about themselves. */
function commandOf(word: string): string {
  if (word === '--help' || word === '--version') return word.slice(2);
  if (word.includes('=') || word.startsWith('--')) {
    throw usageError(`Syntax error: the command is missing before '${word}'`);
  }
  if (word.startsWith('-')) throw usageError(`Syntax error: Unknown switch: ${word}`);
  return word;
}

function environmentConnection(env: Environment): Connection {
  return {
    ...(env.XE_SERVER ? { server: env.XE_SERVER } : {}),
    ...(env.XE_USER ? { username: env.XE_USER } : {}),
    ...(env.XE_PASSWORD_FILE ? { passwordfile: env.XE_PASSWORD_FILE } : {}),
    ...(env.XE_PASSWORD ? { password: env.XE_PASSWORD } : {}),
  };
}

/** Commas separate; a backslash before one keeps it. */
function extraArgs(text: string): string[] {
  const parts = text.match(/(?:\\.|[^,\\])+/g) ?? [];
  return parts.map((part) => part.replace(/\\(.)/g, '$1'));
}

/** Move what names the server from the words to `connection`; the other words are left, in order. */
function takeConnection(words: readonly string[], connection: MutableConnection): string[] {
  const left: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    const key = connectionSwitches[word];
    const pair = /^(server|port|username|password|passwordfile)=(.*)$/s.exec(word);
    if (key !== undefined) {
      const value = words[++i];
      if (value === undefined) throw usageError(`Syntax error: ${word} needs a value`);
      give(connection, key, value);
    } else if (pair !== null) {
      give(connection, pair[1] as keyof Connection, pair[2] as string);
    } else {
      left.push(word);
    }
  }
  return left;
}

/** A password given later overrides a file given before, and the other way round. */
function give(connection: MutableConnection, key: keyof Connection, value: string): void {
  if (key === 'passwordfile') delete connection.password;
  connection[key] = value;
}

function paramOf(word: string): readonly [string, string] {
  if (word.startsWith('--')) {
    const [name, value] = splitOnce(word.slice(2));
    return [name, value ?? 'true'];
  }
  if (word.startsWith('-')) throw usageError(`Syntax error: Unknown switch: ${word}`);
  const [name, value] = splitOnce(word);
  return [name, value ?? ''];
}

function splitOnce(word: string): [string, string | undefined] {
  const at = word.indexOf('=');
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

/** @returns the value of the first parameter of that name */
export function paramNamed(params: Params, name: string): string | undefined {
  return params.find(([given]) => given === name)?.[1];
}

/**
 * A parameter that is true or false.
 * @throws an Error that names it and what is allowed
 */
export function boolParam(params: Params, name: string, ifAbsent = false): boolean {
  const value = paramNamed(params, name);
  return value === undefined ? ifAbsent : parseBool(name, value);
}

/** @throws an Error that names the parameter and what is allowed */
export function parseBool(name: string, value: string): boolean {
  const word = value.toLowerCase();
  if (['true', 't', 'yes', 'y', '1'].includes(word)) return true;
  if (['false', 'f', 'no', 'n', '0'].includes(word)) return false;
  throw new Error(`Failed to parse parameter '${name}': expecting a boolean (true or false), not '${value}'`);
}

/**
 * The values of `prefix:key=value` parameters by key.
 */
export function keyedParams(params: Params, prefix: string): [key: string, value: string][] {
  const start = `${prefix}:`;
  return params.filter(([name]) => name.startsWith(start)).map(([name, value]) => [name.slice(start.length), value]);
}

/**
 * Where to log in, and as whom. The user is root unless named; a password file has the user on its first line and the
 * password on its second, or the password alone.
 * @throws an Error that says what to give where nothing names the server, or no password is there
 */
export function credentialsOf(connection: Connection): Credentials {
  if (connection.server === undefined) {
    throw new Error(`no server is named: give -s SERVER, or set XE_SERVER (${serverForms})`);
  }
  const url = serverUrl(connection.server, connection.port);
  const file = connection.passwordfile;
  const fromFile = connection.password === undefined && file !== undefined ? readPasswordFile(file) : {};
  const username = connection.username ?? fromFile.username ?? 'root';
  const password = connection.password ?? fromFile.password;
  if (password === undefined) throw usageError('Username/password must be specified');
  return { url, username, password };
}

function readPasswordFile(path: string): { username?: string; password?: string } {
  let text: string;
  try {
    text = readTextFile(path);
  } catch (error) {
    throw new Error(`cannot read the password file ${path}: ${messageOf(error)}`, { cause: error });
  }
  const lines = text.replace(/(\r?\n)+$/, '').split(/\r?\n/);
  if (lines.length > 2) {
    throw new Error(
      `the password file ${path} has ${lines.length} lines; allowed: a password, or a user and a password`,
    );
  }
  if (lines.length === 1) return { password: lines[0] as string };
  return { username: lines[0] as string, password: lines[1] as string };
}
