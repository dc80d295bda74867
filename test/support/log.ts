/** A log that keeps its records for a test to look at. */
import { type Log, type LogLevel, type LogRecord, logTo } from '../../src/base/log.js';

export interface CapturedLog {
  readonly log: Log;
  readonly records: LogRecord[];
  /** The messages of one level, or of all. */
  messages(level?: LogLevel): string[];
}

export function captureLog(): CapturedLog {
  const records: LogRecord[] = [];
  const log = logTo({ enabled: () => true, write: (record) => records.push(record) });
  return {
    log,
    records,
    messages: (level) => records.filter((record) => !level || record.level === level).map((record) => record.message),
  };
}
