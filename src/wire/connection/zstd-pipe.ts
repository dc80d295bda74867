/**
 * The external compressor: a zstd process on each side of a channel (`migration-compressor = stream`).
 *
 * The processes get descriptors: the channel's socket and one end of a socket pair; guest memory does not pass through the
 * daemon. The daemon gives up its own copies at once, so that zstd's exit ends the stream. They run at the lowest CPU and an
 * idle I/O priority, as xapi runs them, where `nice` and `ionice` are there. Where there is no zstd, our own program stands in.
 */
import { access, constants, stat } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { XapiError } from '../../base/errors.js';
import { type Command, type HelperEnd, type HelperSettings, startHelper } from '../../base/process/helper-process.js';
import { StreamError } from '../../base/stream-error.js';
import type { RawStream } from './raw-socket.js';
import { openSocketPair } from './socket-pair.js';

/** The command lines that compress and decompress on this machine. */
export interface ZstdCommand {
  readonly compress: Command;
  readonly decompress: Command;
  /** Whether our stand-in has to do. */
  readonly standIn: boolean;
}

/** Running zstd process. */
export interface ZstdPipe {
  /** The uncompressed end: what is written here, or read from here. */
  readonly plain: RawStream;
  readonly pid: number;
  /**
   * Resolves when the process has exited with 0; for a compressor with the bytes that went in and out, where it told.
   * @throws INTERNAL_ERROR with what it said; a StreamError where it failed only because somebody beside it went away first
   */
  readonly done: Promise<{ readonly bytesIn?: number; readonly bytesOut?: number }>;
  /** End it: SIGTERM, then SIGKILL. Resolves when it is gone. */
  stop(): Promise<void>;
}

/** Text of zstd on a reader that is gone with bytes unread, for which there is no SIGPIPE. */
const lostReader = /Connection reset by peer|Broken pipe|ECONNRESET|EPIPE/;

const standInProgram = fileURLToPath(new URL('../../zstd/main.js', import.meta.url));

/**
 * Find out how zstd is run here.
 *
 * @param program a name to look up in PATH, or a path
 */
export async function findZstd(program: string, searchPath = process.env.PATH ?? ''): Promise<ZstdCommand> {
  const find = (name: string) => findProgram(name, searchPath);
  const [nice, ionice, zstd] = await Promise.all([find('nice'), find('ionice'), find(program)]);
  const lower = [
    ...(nice === undefined ? [] : [nice, '-n', '19']),
    ...(ionice === undefined ? [] : [ionice, '-c', '3']),
  ];
  const own = [process.execPath, standInProgram];
  const command = (options: string[], ownOptions: string[]) =>
    [...lower, ...(zstd === undefined ? [...own, ...ownOptions] : [zstd, ...options])] as unknown as Command;
  return {
    compress: command(['--fast', '--no-progress', '-vv'], ['--fast']),
    decompress: command(['-d', '--no-progress', '-q'], ['-d']),
    standIn: zstd === undefined,
  };
}

async function findProgram(name: string, searchPath: string): Promise<string | undefined> {
  const directories = searchPath.split(':').filter((directory) => directory !== '');
  const candidates = name.includes('/') ? [name] : directories.map((directory) => path.join(directory, name));
  for (const candidate of candidates) if (await isProgram(candidate)) return candidate;
  return undefined;
}

async function isProgram(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}

/**
 * Compress what is written to `plain` into the channel, which the process takes over.
 * @throws INTERNAL_ERROR when the channel is closed already
 */
export async function openCompressor(
  command: ZstdCommand,
  channel: RawStream,
  settings: HelperSettings,
): Promise<ZstdPipe> {
  const [plain, child] = await openSocketPair();
  return spawn(command.compress, settings, child, channel, plain);
}

/**
 * Decompress the channel, which the process takes over, into `plain`.
 * @throws INTERNAL_ERROR when the channel is closed already
 */
export async function openDecompressor(
  command: ZstdCommand,
  channel: RawStream,
  settings: HelperSettings,
): Promise<ZstdPipe> {
  const [plain, child] = await openSocketPair();
  return spawn(command.decompress, settings, channel, child, plain);
}

function spawn(
  command: Command,
  settings: HelperSettings,
  input: RawStream,
  output: RawStream,
  plain: RawStream,
): ZstdPipe {
  if (input.fd < 0 || output.fd < 0) {
    for (const socket of [input, output, plain]) socket.destroy();
    throw new StreamError('broken-stream', 'the connection is closed');
  }
  const helper = startHelper(command, [input.fd, output.fd, 'pipe'], settings);
  input.destroy();
  output.destroy();
  const done = helper.ended.then((end) => resultOf(end, command.join(' ')));
  done.catch(() => undefined);
  return { plain, pid: helper.pid ?? 0, done, stop: helper.stop };
}

function resultOf({ exitCode, signal, how, said }: HelperEnd, commandLine: string) {
  if (exitCode === 0) return countsIn(said);
  const why = signal ?? (exitCode === undefined ? how : `exit status ${exitCode}`);
  const cause = said
    .replace(preamble, '')
    .trim()
    .replaceAll(/\s*\n\s*/g, '; ');
  const message = [commandLine, why, ...(cause === '' ? [] : [cause.slice(-500)])].join(': ');
  if (signal === 'SIGPIPE' || lostReader.test(message)) throw new StreamError('broken-stream', message);
  throw new XapiError('INTERNAL_ERROR', [message]);
}

/** Lines of `zstd -vv` before it begins, which are no cause of anything. */
const preamble = /^(?:\*\*\*|--|Using std|Decompression will require).*$/gm;

/** zstd -vv ends with `(3000000 B => 1510510 B, ...)`, the stand-in with `compressed 3000000 => 1510510 bytes`. */
function countsIn(said: string): { bytesIn?: number; bytesOut?: number } {
  const match = /(\d+)(?: B)? => +(\d+)/.exec(said);
  return match === null ? {} : { bytesIn: Number(match[1]), bytesOut: Number(match[2]) };
}
