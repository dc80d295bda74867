/** Waiting for a task of the XenAPI. */
import { setTimeout as delay } from 'node:timers/promises';
import { isErrorCode, XapiError } from '../../base/errors.js';
import type { XapiSession } from './xapi-client.js';

export interface TaskRecord {
  readonly status: 'pending' | 'success' | 'failure' | 'cancelling' | 'cancelled';
  /** 0 to 1. */
  readonly progress: number;
  /** Result of a success: an XML fragment. */
  readonly result: string;
  /** Code and parameters of a failure. */
  readonly error_info: readonly string[];
  readonly other_config: Readonly<Record<string, string>>;
}

/** Pauses between looks at a task, in milliseconds: short at first, for what is soon done. */
const firstPause = 20;
const longestPause = 300;

/**
 * Wait until a task has ended, however that was.
 * @param onProgress called with each look at it
 */
export async function taskEnd(
  session: XapiSession,
  task: string,
  onProgress: (record: TaskRecord) => void = () => undefined,
): Promise<TaskRecord> {
  for (let pause = firstPause; ; pause = Math.min(pause * 1.5, longestPause)) {
    const record = await session.call<TaskRecord>('task.get_record', task);
    onProgress(record);
    if (record.status !== 'pending' && record.status !== 'cancelling') return record;
    await delay(pause);
  }
}

/**
 * The error with which a task ended.
 * @returns undefined for a success
 */
export function taskError(task: string, record: TaskRecord): XapiError | undefined {
  if (record.status === 'success') return undefined;
  if (record.status === 'cancelled') return new XapiError('TASK_CANCELLED', [task]);
  const [code = 'INTERNAL_ERROR', ...params] = record.error_info;
  return isErrorCode(code) ? new XapiError(code, params) : new XapiError('INTERNAL_ERROR', [code, ...params]);
}
