/**
 * A copy that moves no byte for too long has failed: a helper is stopped, or the other end is gone without a word, or takes no more.
 *
 * Guest memory passes nobody but the processes at the ends of the channels, so the system is asked: in /proc/<pid>/io how much
 * they have read and written, and how much of it still waits in the sockets for the peer. While something waits, progress is what
 * the peer takes; else it is what the processes move. A process that stands still wakes its own threads now and then, by
 * writing and reading the 8 bytes of an eventfd(2), which is no progress.
 */
import { readFileSync } from 'node:fs';
import { XapiError } from '../base/errors.js';
import type { SendQueues } from './send-queues.js';

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
  /** Of the channels that are written to. */
  readonly queues: SendQueues;
  /** How long nothing may move, in milliseconds. */
  readonly limitMs: number;
  readonly onStall: (error: XapiError) => void;
}

export type Direction = 'read' | 'written';

/** So often one looks within the limit. Looks are counted, not time, as the daemon may itself have been stopped. */
const looks = 6;
/** The peer takes more than this between two looks, or its queue gets shorter: less may be a line of a log. */
const beside = 4096;
const wakeUpBytes = 8;

interface Look {
  /** The channels that the peer is slow to take. */
  readonly waiting: readonly (readonly [channel: string, bytes: number])[];
  readonly moved: number;
  readonly taken: number;
}

/** Watch until `end`. Where the system does not count bytes there is nothing to watch. */
export function watchProgress({ pids, directions, queues, limitMs, onStall }: WatchInit): ProgressWatch {
  const seen = new Map<number, Moved>();
  let before: Look | undefined;
  let still = 0;
  let excused = 0;
  const measure = (): Look => {
    for (const pid of pids()) seen.set(pid, movedBy(pid) ?? seen.get(pid) ?? nothing);
    const waiting = [...queues].map(([channel, bytes]) => [channel, bytes()] as const);
    const all = [...seen.values()].reduce(add, nothing);
    return {
      waiting,
      moved: directions.reduce((sum, each) => sum + all[each], 0),
      taken: waiting.reduce((left, [, bytes]) => left - bytes, all.written),
    };
  };
  const look = (): void => {
    const now = measure();
    still = excused > 0 || before === undefined || hasMoved(before, now) ? 0 : still + 1;
    before = now;
    if (still < looks) return;
    clearInterval(timer);
    const channels = now.waiting.filter(([, bytes]) => bytes > 0).map(([channel]) => channel);
    const where = channels.length === 0 ? 'memory channel' : channels.join(' and ');
    onStall(new XapiError('INTERNAL_ERROR', [`no byte moved on the ${where} for ${limitMs / 1000} s`]));
  };
  const timer = movedBy(process.pid) === undefined ? undefined : setInterval(look, limitMs / looks);
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

function hasMoved(before: Look, now: Look): boolean {
  if (now.waiting.some(([, bytes], index) => bytes < (before.waiting[index]?.[1] ?? 0))) return true;
  if (now.waiting.some(([, bytes]) => bytes > 0)) return now.taken > before.taken + beside;
  return now.moved > before.moved;
}

type Moved = Readonly<Record<Direction, number>>;
const nothing: Moved = { read: 0, written: 0 };

function add(a: Moved, b: Moved): Moved {
  return { read: a.read + b.read, written: a.written + b.written };
}

/** The bytes of a process and those that it started, beyond what as many wake-ups are; undefined for one that is gone. */
function movedBy(pid: number): Moved | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/io`, 'latin1');
    const count = (name: string) => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(text)?.[1]);
    const own = {
      read: count('rchar') - wakeUpBytes * count('syscr'),
      written: count('wchar') - wakeUpBytes * count('syscw'),
    };
    return childrenOf(pid).reduce((sum, child) => add(sum, movedBy(child) ?? nothing), own);
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
