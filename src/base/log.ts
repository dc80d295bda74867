/**
 * The log: one line a record, `time level message key=value ...`. A value with spaces is quoted; an error is shown with its
 * stack and its causes. What is secret never reaches the log: fields so named and session ids in URLs are shown as `***`.
 */
import winston from 'winston';
import { openOutput } from './log-output.js';

export const logLevels = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];

/** Severities as syslog(3) counts them. */
const severities: Readonly<Record<LogLevel, number>> = { error: 3, warn: 4, info: 6, debug: 7 };

export type LogFields = Readonly<Record<string, unknown>>;

/** Log as every part of the daemon uses it. */
export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  /** A log that adds these fields to each of its records. */
  child(fields: LogFields): Log;
  /** Tell whether records of this level go anywhere; to be asked before costly fields are made. */
  enabled(level: LogLevel): boolean;
}

/** The log that the daemon owns. */
export interface RootLog extends Log {
  setLevel(level: LogLevel): void;
  /**
   * Open the file anew by its name, after it was renamed; nothing for another destination.
   * @throws Error when that fails; the old file stays
   */
  reopen(): void;
  /** Resolves when everything that was logged is written; later records are dropped. */
  close(): Promise<void>;
}

export interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

/** Destination of the records of a log. */
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
 * @param init.destination see openOutput in log-output
 * @throws Error when the file cannot be opened
 */
export function createLog(init: { readonly destination: string; readonly level: LogLevel }): RootLog {
  const output = openOutput(init.destination);
  const logger = winston.createLogger({
    level: init.level,
    levels: Object.fromEntries(logLevels.map((level, index) => [level, index])),
    format: winston.format.printf((info) => {
      const record = info.record as LogRecord;
      return output.prefix(severities[record.level]) + formatRecord(record, new Date());
    }),
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

/** Tell whether what is so named never reaches the log, nor an error. */
export function isSecretName(name: string): boolean {
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

/** An error's stack, and those of its causes. References, of which sessions are some, are no use there. */
function formatError(error: Error, depth = 0): string {
  const text = (error.stack ?? String(error)).replace(/\bOpaqueRef:(?!NULL\b)[\w-]+/g, 'OpaqueRef:***');
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
