/** A log that keeps its records for a test to look at. */
import { type Log, type LogLevel, type LogRecord, logTo } from '../../src/base/log.js';

export interface CapturedLog {
  readonly log: Log;
  readonly records: LogRecord[];
  /** The messages of one level, or of all. */
  messages(level?: LogLevel): string[];
}

/** @param onRecord told each record at once */
export function captureLog(onRecord: (record: LogRecord) => void = () => undefined): CapturedLog {
  const records: LogRecord[] = [];
  const write = (record: LogRecord): void => {
    records.push(record);
    onRecord(record);
  };
  const log = logTo({ enabled: () => true, write });
  return {
    log,
    records,
    messages: (level) => records.filter((record) => !level || record.level === level).map((record) => record.message),
  };
}
