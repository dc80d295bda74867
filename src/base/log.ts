/**
 * The log: one line a record, `time level message key=value ...`. A value with spaces is quoted; an error is shown with its
 * stack and its causes. What is secret never reaches the log: fields so named and session ids in URLs are shown as `***`.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { Writable } from 'node:stream';
import winston from 'winston';

export const logLevels = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];

export type LogFields = Readonly<Record<string, unknown>>;

/** What every part of the daemon logs with. */
export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A log that adds these fields to each of its records. */
  child(fields: LogFields): Log;
  /** Whether records of this level go anywhere; ask before making costly fields. */
  enabled(level: LogLevel): boolean;
}

/** The log that the daemon owns. */
export interface RootLog extends Log {
  setLevel(level: LogLevel): void;
  /** Open the file anew by its name, after it was renamed; nothing for stderr. @throws Error when that fails; the old file stays */
  reopen(): void;
  /** Resolves when everything that was logged is written; later records are dropped. */
  close(): Promise<void>;
}

export interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** Where the records of a log go. */
export interface LogSink {
  enabled(level: LogLevel): boolean;
  write(record: LogRecord): void;
}

/** A log whose records go to a sink. */
export function logTo(sink: LogSink, base: LogFields = {}): Log {
  const write = (level: LogLevel, message: string, fields?: LogFields) => {
    if (sink.enabled(level)) sink.write({ level, message, fields: fields ? { ...base, ...fields } : base });
  };
  return {
    error: (message, fields) => write('error', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    info: (message, fields) => write('info', message, fields),
    debug: (message, fields) => write('debug', message, fields),
    child: (fields) => logTo(sink, { ...base, ...fields }),
    enabled: (level) => sink.enabled(level),
  };
}

/** A log that goes nowhere. */
export const nullLog: Log = logTo({ enabled: () => false, write: () => undefined });

/**
 * Open the log.
 * @param init.destination `stderr`, or the path of a file, which is made if need be and appended to
 * @throws Error when the file cannot be opened
 */
export function createLog(init: { readonly destination: string; readonly level: LogLevel }): RootLog {
  const output = init.destination === 'stderr' ? standardError() : appendingFile(init.destination);
  const logger = winston.createLogger({
    level: init.level,
    levels: Object.fromEntries(logLevels.map((level, index) => [level, index])),
    format: winston.format.printf((info) => formatRecord(info.record as LogRecord, new Date())),
    transports: [new winston.transports.Stream({ stream: output.stream, eol: '\n' })],
  });
  let closed = false;
  const log = logTo({
    enabled: (level) => !closed && logger.isLevelEnabled(level),
    write: (record) => logger.log({ level: record.level, message: '', record }),
  });
  return {
    ...log,
    setLevel(level) {
      logger.level = level;
    },
    reopen: output.reopen,
    async close() {
      if (closed) return;
      closed = true;
      logger.close();
      await output.close();
    },
  };
}

interface Output {
  readonly stream: Writable;
  reopen(): void;
  close(): Promise<void>;
}

/** A reader of the standard error that is slow must not stop the daemon, nor one that went away end it. */
function standardError(): Output {
  const ignore = () => undefined;
  process.stderr.on('error', ignore);
  const stream = new Writable({
    write(chunk, _encoding, done) {
      process.stderr.write(chunk);
      done();
    },
  });
  const close = async () => {
    await new Promise((written) => process.stderr.write('', written));
    process.stderr.off('error', ignore);
  };
  return { stream, reopen: () => undefined, close };
}

/** Writes are synchronous, so that a record that was logged is there whatever happens next. */
function appendingFile(path: string): Output {
  let descriptor = openSync(path, 'a', 0o640);
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      try {
        writeSync(descriptor, chunk);
      } catch {
        // A full disk must not stop the daemon, and there is nowhere to tell of it.
      }
      done();
    },
  });
  const reopen = () => {
    const next = openSync(path, 'a', 0o640);
    closeSync(descriptor);
    descriptor = next;
  };
  return { stream, reopen, close: async () => closeSync(descriptor) };
}

/** A record as its line, without the end of the line. */
export function formatRecord(record: LogRecord, time: Date): string {
  const fields = Object.entries(record.fields).filter(([, value]) => value !== undefined);
  const texts = fields.map(
    ([name, value]) => `${name}=${isSecretName(name) ? '***' : quoteIfNeeded(formatField(value))}`,
  );
  const line = [time.toISOString(), record.level.padEnd(5), ...[escapeControls(record.message), ...texts]].join(' ');
  return line.replace(/\b(session_id|token|password|secret)=(?!\*\*\*)[^&\s"'\\]+/gi, '$1=***');
}

const secretName = /(^|_|-)(password|passwd|session|session_?id|token|secret)$/i;

function isSecretName(name: string): boolean {
  return secretName.test(name) || /(Password|Session|SessionId|Token|Secret)$/.test(name);
}

function formatField(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value instanceof Error) return formatError(value);
  if (typeof value !== 'object' || value === null) return String(value);
  try {
    return JSON.stringify(value, hideSecrets) ?? String(value);
  } catch {
    return '(cannot be shown)';
  }
}

function hideSecrets(name: string, value: unknown): unknown {
  if (isSecretName(name)) return '***';
  if (value instanceof Error) return formatError(value);
  return typeof value === 'bigint' ? String(value) : value;
}

/** An error's stack, and those of its causes. */
function formatError(error: Error, depth = 0): string {
  const text = error.stack ?? String(error);
  if (error.cause === undefined || depth >= 8) return text;
  const cause = error.cause instanceof Error ? formatError(error.cause, depth + 1) : formatField(error.cause);
  return `${text}\ncaused by ${cause}`;
}

function quoteIfNeeded(text: string): string {
  return /^[^\s"'=\\]+$/.test(text) && escapeControls(text) === text ? text : escapeControls(JSON.stringify(text));
}

/** Keeps a record on its line, and a terminal from obeying it. */
function escapeControls(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (control) => {
    if (control === '\n') return '\\n';
    return `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
