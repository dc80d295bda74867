/** Where the lines of the log go: the standard error, a file, or the log of the system. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, writeSync } from 'node:fs';
import { Writable } from 'node:stream';
import { messageOf } from './errors.js';
import { openLogFile } from './named-file.js';

export interface LogOutput {
  /** Takes whole lines, and never fails. */
  readonly stream: Writable;
  /** Give what goes before a line of a severity as syslog(3) counts it: nothing but for the log of the system. */
  prefix(severity: number): string;
  /**
   * Open it anew, after it was renamed.
   * @throws Error when that fails; the old one stays
   */
  reopen(): void;
  /** Resolves when everything is written. */
  close(): Promise<void>;
}

/** Prefix of a destination in the log of the system; the name under which the lines stand there follows. */
export const syslogScheme = 'syslog:';

/**
 * @param destination `stderr`; `syslog:NAME`; or the path of a file, which is made if need be and appended to
 * @throws Error when the file cannot be opened
 */
export function openOutput(destination: string): LogOutput {
  if (destination === 'stderr') return standardError();
  if (destination.startsWith(syslogScheme)) return systemLog(destination.slice(syslogScheme.length));
  return appendingFile(destination);
}

/** Bytes that may wait for a log that takes none. */
const mostWaiting = 2 ** 20;

/** A reader of the standard error that is slow must not stop the daemon, nor one that went away end it. */
function standardError(): LogOutput {
  const ignore = () => undefined;
  process.stderr.on('error', ignore);
  const stream = countingLost((line) => {
    if (process.stderr.writableLength > mostWaiting) throw new Error('nobody reads them');
    process.stderr.write(line);
  });
  const close = async () => {
    await new Promise((written) => process.stderr.write('', written));
    process.stderr.off('error', ignore);
  };
  return { stream, prefix: () => '', reopen: () => undefined, close };
}

/**
 * Takes lines whatever becomes of them: a full disk, or a pipe that nobody reads, must not stop the daemon. As soon as
 * a line can be written again one before it says how many could not.
 * @param put writes one line, or throws
 */
function countingLost(put: (line: string) => void): Writable {
  let lost = 0;
  let why = '';
  return new Writable({
    decodeStrings: false,
    write(line: string | Buffer, _encoding, done) {
      try {
        if (lost > 0) put(`${new Date().toISOString()} warn  ${lost} lines of the log were lost: ${why}\n`);
        lost = 0;
        put(String(line));
      } catch (error) {
        lost += 1;
        why = messageOf(error);
      }
      done();
    },
  });
}

/** The group of a log may read it, whatever is made for its owner alone. */
function openForGroup(path: string): number {
  const umask = process.umask(0o027);
  try {
    return openLogFile(path, 0o640);
  } finally {
    process.umask(umask);
  }
}

/** Writes are synchronous, so that a record that was logged is there whatever happens next. */
function appendingFile(path: string): LogOutput {
  let descriptor = openForGroup(path);
  let isTorn = false;
  const stream = countingLost((line) => {
    const bytes = Buffer.from(isTorn ? `\n${line}` : line);
    const written = writeSync(descriptor, bytes);
    isTorn = written < bytes.length && (isTorn || written > 0);
    if (written < bytes.length) throw new Error('no space left on device');
  });
  const reopen = () => {
    const next = openForGroup(path);
    closeSync(descriptor);
    descriptor = next;
  };
  return { stream, prefix: () => '', reopen, close: async () => closeSync(descriptor) };
}

/** The facility `daemon` of syslog(3), as the prefix of a line has it. */
const daemonFacility = 3 << 3;
/** Time in which a logger finds that there is no log, and in which no new one is started, in milliseconds. */
const provingMs = 5_000;

/**
 * The log of the system, by the program logger(1): Node has no datagrams of Unix sockets. What the system's log does not take,
 * as it is not there or stalls, goes to the standard error.
 */
function systemLog(tag: string): LogOutput {
  const instead = standardError();
  const tell = (line: Buffer | string) => instead.stream.write(String(line).replace(/^<\d+>/, ''));
  const loggers: Loggers = {
    tag,
    tell,
    current: undefined,
    closing: false,
    startedAt: Number.NEGATIVE_INFINITY,
    unproven: [],
  };
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      put(loggers, chunk);
      done();
    },
  });
  const close = async () => {
    loggers.closing = true;
    const { current } = loggers;
    if (current !== undefined) {
      const exit = once(current, 'exit').catch(() => undefined);
      current.ref();
      current.stdin?.end();
      await exit;
    }
    await instead.close();
  };
  return { stream, prefix: (severity) => `<${daemonFacility + severity}>`, reopen: () => undefined, close };
}

/** The processes of logger(1), one after another. */
interface Loggers {
  readonly tag: string;
  /** Takes what the system's log does not. */
  readonly tell: (line: Buffer | string) => unknown;
  current: ChildProcess | undefined;
  closing: boolean;
  /** Start of the current logger, or of the last one, as performance.now() counts. */
  startedAt: number;
  /** Lines that went to a logger which may turn out to have nowhere to put them. */
  unproven: Buffer[];
}

function put(loggers: Loggers, line: Buffer): void {
  if (loggers.current === undefined && !isProving(loggers)) startLogger(loggers);
  const input = loggers.current?.stdin;
  if (!input || input.writableLength > mostWaiting) return void loggers.tell(line);
  if (isProving(loggers)) loggers.unproven.push(line);
  else loggers.unproven = [];
  input.write(line);
}

function isProving({ startedAt }: Loggers): boolean {
  return performance.now() - startedAt < provingMs;
}

/** Start logger(1) in a session of its own, so that it outlives a Ctrl-C and takes the last lines. */
function startLogger(loggers: Loggers): void {
  loggers.startedAt = performance.now();
  loggers.unproven = [];
  const args = ['--tag', loggers.tag, `--id=${process.pid}`, '--prio-prefix', ...loggerLimits];
  const started = spawn('logger', args, { detached: true, stdio: ['pipe', 'ignore', 'pipe'] });
  loggers.current = started;
  started.unref();
  for (const pipe of [started.stdin, started.stderr]) (pipe as unknown as { unref(): void } | null)?.unref();
  started.stdin?.on('error', () => undefined);
  // A child that shared our own standard error would make it block; the end of its input ends the logger.
  started.stderr?.on('data', loggers.tell).on('error', () => undefined);
  started.on('error', (error) => lose(loggers, started, error.message));
  started.on('exit', (status, signal) => {
    if (loggers.closing && status === 0) return;
    lose(loggers, started, `ended with ${signal ?? `status ${status}`}`);
  });
}

/** A logger has ended by itself: what it has not put anywhere, and what comes until the next one, is told elsewhere. */
function lose(loggers: Loggers, lost: ChildProcess, why: string): void {
  if (loggers.current !== lost) return;
  loggers.current = undefined;
  loggers.tell(`xenferryd: the log of the system cannot be written: logger ${why}; lines go here until it can\n`);
  if (isProving(loggers)) for (const line of loggers.unproven) loggers.tell(line);
  loggers.unproven = [];
}

/** A line may be long, as a stack is; one that cannot be delivered ends the logger. */
const loggerLimits = ['--size', '8KiB', '--socket-errors=on'];
