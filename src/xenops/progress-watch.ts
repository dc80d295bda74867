/**
 * A copy that moves too little for too long has failed: a helper is stopped, or the other end is gone without a word, or takes or
 * brings next to nothing.
 *
 * Guest memory passes nobody but the processes at the ends of the channels, so the system is asked: in /proc/<pid>/io how much
 * they have read and written, and how much of it still waits in the sockets for the peer. While much waits, progress is what
 * the peer takes; else it is what the processes move. A process that stands still wakes its own threads now and then, by
 * writing and reading the 8 bytes of an eventfd(2), which is no progress.
 *
 * An allowance of bytes is spent at an even pace and filled up by what moves, never beyond its size: a copy at the least rate
 * goes on for ever, and one that stands still ends when the allowance is spent, which takes the limit.
 *
 * Places for copies are few. While another copy has waited for one for too long, the least rate is eight times what it is else, a link of
 * 1 Mbit/s, and a copy has in all no longer than its memory takes at the least rate, which are eight passes over it at that link. So
 * who sends at the least rate for ever keeps its place as long as nobody wants it.
 */
import { readFileSync } from 'node:fs';
import { XapiError } from '../base/errors.js';
import type { SendQueues } from './send-queues.js';

export interface ProgressWatch {
  /** Do work that may rightly take its time: nothing has to move meanwhile, and the limit begins anew afterwards. */
  without<T>(work: () => Promise<T>): Promise<T>;
  end(): void;
}

/** A place for a copy, of which there are few. */
export interface CopyPlace {
  /** Whether another copy has waited for a place for too long. */
  readonly isAwaited: () => boolean;
  /** What is copied, in bytes. */
  readonly memoryBytes: number;
}

export interface WatchInit {
  /** The processes whose bytes count, as they are now. */
  readonly pids: () => readonly number[];
  /** Which of the processes' bytes count. */
  readonly directions: readonly Direction[];
  /** The queues of the channels that are written to. */
  readonly queues: SendQueues;
  /** How long the copy may stand still, in milliseconds. */
  readonly limitMs: number;
  /** For how long in all, in milliseconds, the copy may stand still beyond the limit; absent: not at all. */
  readonly pausesMs?: number;
  /** What the copy occupies while others may wait; absent: nothing. */
  readonly place?: CopyPlace | undefined;
  /** Stands in for the system's timer, in tests. */
  readonly every?: Every;
  readonly onStall: (error: XapiError) => void;
}

/**
 * What counts as progress: the bytes that move in emu-manager, or in the codecs where there are any. A save counts what goes into a
 * codec as well, as a codec holds much back; a restore does not, as a codec goes on reading frames that have nothing in them.
 */
export interface Watched extends Pick<WatchInit, 'queues' | 'pausesMs' | 'place'> {
  readonly ofEmu: readonly Direction[];
  readonly ofCodec: readonly Direction[];
}

export type Direction = 'read' | 'written';

/** Call `look` so often, in milliseconds, until the function that it returns is called. */
export type Every = (look: () => void, ms: number) => () => void;

/** The slowest copy that goes on, in bytes a second: an eighth of a link of 1 Mbit/s. */
const leastRate = 16 << 10;
/** How much more has to move while the copy's place is awaited. */
const awaitedFactor = 8;
/** The slowest copy that goes on while its place is awaited, in bytes a second. */
export const awaitedRate = awaitedFactor * leastRate;
/** The least that has to move within the limit, however short the limit is: fewer bytes may be lines of a log. */
const leastBytes = 32 << 10;
/** How many looks fall within the limit. Looks are counted, not time, as the daemon may itself have been stopped. */
export const looks = 6;
/** The peer is slow where more bytes than these wait in a queue; fewer are on their way over a long link. */
const underWayBytes = 64 << 10;
const wakeUpBytes = 8;

/** How many bytes have to move within a limit in milliseconds. */
export function bytesWithin(limitMs: number): number {
  return Math.max(leastBytes, (leastRate * limitMs) / 1000);
}

const systemTimer: Every = (look, ms) => {
  const timer = setInterval(look, ms);
  return () => clearInterval(timer);
};

interface Look {
  /** Bytes that wait, by channel. */
  readonly waiting: readonly (readonly [channel: string, bytes: number])[];
  readonly moved: number;
  readonly taken: number;
}

/** Watch a copy until `end`. Where the system does not count a process's bytes nothing is watched. */
export function watchProgress(init: WatchInit): ProgressWatch {
  const { every = systemTimer, limitMs, onStall } = init;
  const measure = createMeasure(init);
  const allowance = createAllowance(init);
  let before: Look | undefined;
  let excused = 0;
  const look = (): void => {
    const now = measure();
    if (excused > 0 || before === undefined) allowance.renew();
    else allowance.spend(progressBetween(before, now));
    before = now;
    if (allowance.isLeft()) return;
    stop();
    onStall(stallError(now, allowance.broken()));
  };
  const stop = movedBy(process.pid) === undefined ? () => undefined : every(look, limitMs / looks);
  return {
    async without(work) {
      excused += 1;
      return work().finally(() => {
        excused -= 1;
        allowance.renew();
      });
    },
    end: stop,
  };
}

function createMeasure({ pids, directions, queues }: WatchInit): () => Look {
  const seen = new Map<number, Moved>();
  return () => {
    for (const pid of pids()) seen.set(pid, movedBy(pid) ?? seen.get(pid) ?? nothing);
    const waiting = [...queues].map(([channel, bytes]) => [channel, bytes()] as const);
    const all = [...seen.values()].reduce(add, nothing);
    return {
      waiting,
      moved: directions.reduce((sum, each) => sum + all[each], 0),
      taken: all.written - waitingIn(waiting),
    };
  };
}

function waitingIn(waiting: Look['waiting']): number {
  return waiting.reduce((sum, [, bytes]) => sum + bytes, 0);
}

function progressBetween(before: Look, now: Look): number {
  const taken = now.taken - before.taken;
  const isPeerSlow = waitingIn(now.waiting) > underWayBytes;
  return Math.max(0, isPeerSlow ? taken : Math.max(taken, now.moved - before.moved));
}

/** An allowance that is counted in looks: each look spends one, and bytes that moved give back as many as they suffice for. */
function createAllowance({ limitMs, pausesMs = 0, place }: WatchInit) {
  const lookMs = limitMs / looks;
  const bytesOfLook = bytesWithin(limitMs) / looks;
  const longest = looks + pausesMs / lookMs + ((place?.memoryBytes ?? 0) * 1000) / leastRate / lookMs;
  let left = looks;
  let pauses = pausesMs / lookMs;
  let slow = 0;
  let all = 0;
  let isAwaited = false;
  const spend = (share: number): void => {
    left = Math.min(looks, left - 1 + share);
    if (left === looks) slow = 0;
  };
  return {
    spend(bytes: number): void {
      const share = bytes / bytesOfLook;
      const wasAwaited = isAwaited;
      isAwaited = place?.isAwaited() ?? false;
      all += 1;
      slow += 1;
      if (isAwaited) {
        if (!wasAwaited) left = looks;
        // The guest has its time to suspend, whoever waits.
        if (share < 1 && pauses > 0) pauses -= 1;
        else spend(share / awaitedFactor);
      } else {
        spend(share);
        pauses += Math.min(0, left);
      }
      left = Math.max(0, left);
    },
    /** Fill the allowance up; what was spent of the pauses stays spent. */
    renew(): void {
      left = looks;
      slow = 0;
    },
    isLeft: () => (isAwaited ? left > 0 && all <= longest : left > 0 || pauses > 0),
    /** The limit that the copy has not kept to, in words. */
    broken(): string {
      if (isAwaited && left > 0) return `it has taken ${seconds(all * lookMs)}, while another waits for its place`;
      const rate = (bytesWithin(limitMs) / limitMs / 1.024) * (isAwaited ? awaitedFactor : 1);
      const said = `less than ${round(rate)} KiB/s for ${seconds(slow * lookMs)}`;
      return isAwaited ? `${said}, while another waits for its place` : said;
    },
  };
}

function stallError({ waiting }: Look, broken: string): XapiError {
  const channels = waiting.filter(([, bytes]) => bytes > 0).map(([channel]) => channel);
  const where = channels.length === 0 ? 'memory channel' : channels.join(' and ');
  return new XapiError('INTERNAL_ERROR', [`the copy stalled on the ${where}: ${broken}`]);
}

function seconds(ms: number): string {
  return `${round(ms / 1000)} s`;
}

function round(value: number): number {
  return Number(value.toFixed(1));
}

type Moved = Readonly<Record<Direction, number>>;
const nothing: Moved = { read: 0, written: 0 };

function add(a: Moved, b: Moved): Moved {
  return { read: a.read + b.read, written: a.written + b.written };
}

/** The bytes that a process and its children have moved, less those of wake-ups; undefined for a process that is gone. */
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

/** The children of a process; none where the kernel does not tell them. */
function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
