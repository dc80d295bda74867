/**
 * A copy that moves no byte for too long has failed: a helper is stopped, or the other end is gone without a word. The processes
 * at the ends of the channels are asked, in /proc, how much they have read or written; guest memory passes nobody else.
 */
import { readFileSync } from 'node:fs';
import { XapiError } from '../base/errors.js';

export interface ProgressWatch {
  /** Do what may rightly take its time: the clock stands still, and begins anew when it is done. */
  without<T>(work: () => Promise<T>): Promise<T>;
  end(): void;
}

export interface WatchInit {
  /** The processes that count, those of now. */
  readonly pids: () => readonly number[];
  /** What of theirs counts. */
  readonly directions: readonly Direction[];
  /** How long nothing may move, in milliseconds. */
  readonly limitMs: number;
  readonly onStall: (error: XapiError) => void;
}

export type Direction = 'read' | 'written';

/** So often one looks within the limit. Looks are counted, not time, as the daemon may itself have been stopped. */
const looks = 6;

/** Watch until `end`. Where the system does not count bytes there is nothing to watch. */
export function watchProgress({ pids, directions, limitMs, onStall }: WatchInit): ProgressWatch {
  const seen = new Map<number, number>();
  let before = -1;
  let still = 0;
  let excused = 0;
  const look = (): void => {
    for (const pid of pids()) seen.set(pid, bytesOf(pid, directions) ?? seen.get(pid) ?? 0);
    const now = [...seen.values()].reduce((sum, bytes) => sum + bytes, 0);
    still = now === before && excused === 0 ? still + 1 : 0;
    before = now;
    if (still < looks) return;
    clearInterval(timer);
    onStall(new XapiError('INTERNAL_ERROR', [`no byte moved on the memory channel for ${limitMs / 1000} s`]));
  };
  const isCounted = bytesOf(process.pid, directions) !== undefined;
  const timer = isCounted ? setInterval(look, limitMs / looks) : undefined;
  return {
    async without(work) {
      excused += 1;
      return work().finally(() => {
        excused -= 1;
        still = 0;
      });
    },
    end: () => clearInterval(timer),
  };
}

/** What a process and those that it started have moved; undefined for one that is gone. */
function bytesOf(pid: number, directions: readonly Direction[]): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/io`, 'latin1');
    const count = (name: string) => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)?.[1]);
    const own = directions.reduce((sum, each) => sum + count(each === 'read' ? 'rchar' : 'wchar'), 0);
    return childrenOf(pid).reduce((sum, child) => sum + (bytesOf(child, directions) ?? 0), own);
  } catch {
    return undefined;
  }
}

/** Not every kernel tells. */
function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
