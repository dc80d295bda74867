/**
 * How hard to compress. `auto` looks at what limits the copy: a stream that is idle for want of data means faster, down to pages
 * as they are; data that waits for the stream while CPU is idle means denser. A step that made the copy slower is taken back, and
 * not tried again for a while: where source and destination share a machine, a destination that is short of CPU makes the stream
 * wait too.
 */
import os from 'node:os';
import type { CompressionLevel } from '../../base/protocol/emu-protocol.js';

/** zstd's levels by what pages hold; undefined: pages as they are. */
type Levels = { readonly text: number; readonly binary: number } | undefined;

/** One step between fast and dense. */
export interface Effort {
  readonly levels: Levels;
  /** How many times smaller it makes pages as a rule, those counted that it stores. */
  readonly ratio: number;
  /** CPU-seconds that a GiB of memory costs this host with it as a rule, relative to the others. */
  readonly cost: number;
}

/**
 * From the fastest to the densest, each worth its price: text costs as much at level 1 as at -1, and is a fifth smaller; levels 4,
 * 5 and 8 give next to nothing over the one before.
 */
export const efforts: readonly Effort[] = [
  { levels: undefined, ratio: 1, cost: 0.7 },
  { levels: { text: -7, binary: -7 }, ratio: 1.49, cost: 1.5 },
  { levels: { text: 1, binary: -5 }, ratio: 1.76, cost: 2.2 },
  { levels: { text: 1, binary: 1 }, ratio: 1.97, cost: 2.4 },
  { levels: { text: 2, binary: 2 }, ratio: 2.05, cost: 2.8 },
  { levels: { text: 3, binary: 3 }, ratio: 2.11, cost: 3.6 },
  { levels: { text: 6, binary: 6 }, ratio: 2.17, cost: 7.7 },
  { levels: { text: 7, binary: 7 }, ratio: 2.18, cost: 9 },
];
const firstEffort = 2;
const densest = efforts.length - 1;

/** What was found while an effort was in use. */
export interface Findings {
  /** The share of records that found others still waiting for the stream, 0 to 1. */
  readonly waiting: number;
  /** The share of this machine's CPU time that was idle, 0 to 1. */
  readonly idle: number;
  /** Bytes that the stream took, a second. */
  readonly rate: number;
}

/** Bytes of pages, other than zeros, after which it is looked at anew: few, so that a copy settles within its first 256 MiB. */
const lookBytes = 12 << 20;
/** How long it is looked at least: first to settle soon, then to tell small differences. */
const lookMs = { first: 40, later: 100 };
const firstLooks = 4;
/** More than is on its way at a time on a local network: a connection that holds so much back is what limits the copy. */
const muchQueued = 2 << 20;
/** Shares of the speed before: less than the difference cannot be told from what differs between pages. */
const hardlySlower = 0.95;
const plainlyFaster = 1.03;
/** Efforts that would keep the CPUs busier than this are not tried; what others cost differs from machine to machine. */
const mostBusy = 1.1;
/** Nor is it asked where the other effort costs so many times as much at most. */
const smallStep = 1.5;
/** For so many looks a step that made the copy slower is not tried again; twice as many each time, up to a bound. */
const firstPause = 16;
const longestPause = 64;

/**
 * A function that takes what was found, and returns the effort to use next, an index of `efforts`.
 *
 * How fast the copy is, is told by what the stream takes and what the effort makes of pages as a rule: how many pages were sent
 * says more of what they hold, as long as it is the stream that limits the copy.
 */
export function createEffortChooser(): (findings: Findings) => number {
  let effort = firstEffort;
  let looks = 0;
  let from: { readonly effort: number; readonly least: number } | undefined;
  const pauses = new Map<number, { readonly until: number; readonly length: number }>();
  const isPaused = (candidate: number) => looks < (pauses.get(candidate)?.until ?? 0);
  const pause = (candidate: number) => {
    const length = Math.min(longestPause, 2 * (pauses.get(candidate)?.length ?? firstPause / 2));
    pauses.set(candidate, { until: looks + length, length });
  };

  return ({ waiting, idle, rate }) => {
    looks += 1;
    const speed = rate * (efforts[effort] as Effort).ratio;
    if (from !== undefined && speed < from.least) {
      pause(effort);
      effort = from.effort;
      from = undefined;
      return effort;
    }
    const next = stepsFrom(effort, { waiting, idle }).find(({ to }) => !isPaused(to));
    from = next === undefined ? undefined : { effort, least: speed * next.least };
    effort = next?.to ?? effort;
    return effort;
  };
}

/** Whether there is CPU for an effort where so much is idle with another one. A small step is tried to find out. */
function isAffordable(candidate: number, effort: number, idle: number): boolean {
  const times = (efforts[candidate] as Effort).cost / (efforts[effort] as Effort).cost;
  return times <= smallStep || (1 - idle) * times <= mostBusy;
}

/** A step that may be tried. */
interface Step {
  readonly to: number;
  /** What the copy's speed has to be with it, as a share of what it was, for it to be kept. */
  readonly least: number;
}

/**
 * Where to go from an effort, the best one first: two steps at once where it is plain what limits the copy. What is said of that may
 * be wrong, as where source and destination share CPUs, so a step the other way follows, which has to pay.
 */
function stepsFrom(effort: number, { waiting, idle }: Omit<Findings, 'rate'>): Step[] {
  const isStarved = waiting < 0.4;
  if (!isStarved && waiting < 0.8) return [];
  const steps = isStarved ? [waiting < 0.1 ? -2 : -1, -1, 1] : idle < 0.1 ? [-1] : [idle > 0.5 ? 2 : 1, 1, -1];
  return steps
    .map((step) => ({
      to: Math.min(densest, Math.max(0, effort + step)),
      least: step < 0 === isStarved ? hardlySlower : plainlyFaster,
    }))
    .filter(({ to }) => to !== effort && isAffordable(to, effort, idle));
}

/** What is to be known of the stream. */
export interface StreamState {
  /** Bytes written so far. */
  written(): number;
  /** Bytes of these that the system has not taken yet. */
  waiting(): number;
  /** Bytes that the system has taken and the peer has not. */
  queued(): number;
}

export interface LevelChooser {
  /** The levels for the next frame. */
  levels(): Levels;
  /** A record is about to be written to the stream. @param pages bytes of its pages */
  sent(pages: number): void;
  /** In a word: `none`, `3`, or `1/-5` for text and other content. */
  word(): string;
}

/** One level throughout, which is 1 for text at least: less would save it a fifth of the time, and cost a third more bytes. */
function fixed(level: number): LevelChooser {
  const levels = level === 0 ? undefined : { text: Math.max(level, 1), binary: level };
  return { levels: () => levels, sent: () => undefined, word: () => wordOf(levels) };
}

/** @param level the configured one */
export function createLevelChooser(level: CompressionLevel, stream: StreamState): LevelChooser {
  if (level !== 'auto') return fixed(level);
  const next = createEffortChooser();
  let effort = firstEffort;
  const measure = () => {
    const queued = stream.queued();
    return { at: performance.now(), cpu: readCpu(), queued, taken: stream.written() - stream.waiting() - queued };
  };
  let since = measure();
  let seen = { pages: 0, records: 0, waited: 0 };
  let looks = 0;
  const look = () => {
    const now = measure();
    const total = now.cpu.total - since.cpu.total;
    const findings = {
      waiting: Math.max(seen.waited / seen.records, Math.min(1, now.queued / muchQueued)),
      idle: total === 0 ? 0 : (now.cpu.idle - since.cpu.idle) / total,
      rate: ((now.taken - since.taken) * 1000) / (now.at - since.at),
    };
    // At first code is compiled and buffers fill, so only a plain finding counts.
    if (looks > 0 || findings.waiting < 0.1) effort = next(findings);
    looks += 1;
    since = now;
    seen = { pages: 0, records: 0, waited: 0 };
  };
  return {
    levels: () => efforts[effort]?.levels,
    sent(pages) {
      seen.pages += pages;
      seen.records += 1;
      if (stream.waiting() > 0) seen.waited += 1;
      const least = looks < firstLooks ? lookMs.first : lookMs.later;
      if (seen.pages >= lookBytes && performance.now() - since.at >= least) look();
    },
    word: () => wordOf(efforts[effort]?.levels),
  };
}

function wordOf(levels: Levels): string {
  if (levels === undefined) return 'none';
  return levels.text === levels.binary ? String(levels.text) : `${levels.text}/${levels.binary}`;
}

function readCpu(): { idle: number; total: number } {
  let idle = 0;
  let total = 0;
  for (const { times } of os.cpus()) {
    idle += times.idle;
    total += times.user + times.nice + times.sys + times.idle + times.irq;
  }
  return { idle, total };
}
