/**
 * How hard to compress. `auto` looks at what limits the copy: a stream that is idle for want of data means faster, down to pages
 * as they are; data that waits for the stream while CPU is idle means denser. A step that made the copy slower is taken back, and
 * not tried again for a while: where source and destination share a machine, a destination that is short of CPU makes the stream
 * wait too.
 */
import os from 'node:os';
import type { CompressionLevel } from '../base/emu-protocol.js';

/** zstd's levels by what pages hold; undefined: pages as they are. */
export type Levels = { readonly text: number; readonly binary: number } | undefined;

/**
 * From the fastest to the densest, each worth its price: text costs as much at level 1 as at -1, and is a fifth smaller; levels 4,
 * 5 and 8 give next to nothing over the one before.
 */
export const efforts: readonly Levels[] = [
  undefined,
  { text: -7, binary: -7 },
  { text: 1, binary: -5 },
  { text: 1, binary: 1 },
  { text: 2, binary: 2 },
  { text: 3, binary: 3 },
  { text: 6, binary: 6 },
  { text: 7, binary: 7 },
];
const firstEffort = 2;

/** What was found while an effort was in use. */
export interface Findings {
  /** The share of records that found others still waiting for the stream, 0 to 1. */
  readonly waiting: number;
  /** The share of this machine's CPU time that was idle, 0 to 1. */
  readonly idle: number;
  /** Bytes of pages sent, other than zeros, a second. */
  readonly rate: number;
}

/** Bytes of pages, other than zeros, after which it is looked at anew: few, so that a copy settles within its first 256 MiB. */
const lookBytes = 12 << 20;
const lookMs = 20;
/** What the buffers of a connection take before it can be told how fast it is. */
const bufferBytes = 12 << 20;
/** How much slower a step may make the copy, as a share: less cannot be told from what differs between pages. */
const slower = 0.97;
/** For so many looks a step that made the copy slower is not tried again; twice as many each time. */
const firstPause = 16;

/** A function that takes what was found, and returns the effort to use next, an index of `efforts`. */
export function createEffortChooser(): (findings: Findings) => number {
  let effort = firstEffort;
  let looks = 0;
  let from: { readonly effort: number; readonly rate: number } | undefined;
  const pauses = new Map<number, { readonly until: number; readonly length: number }>();

  /** Two steps at once where it is plain what limits the copy. */
  const wanted = ({ waiting, idle }: Findings): number => {
    if (waiting < 0.4) return Math.max(0, effort - (waiting < 0.1 ? 2 : 1));
    if (waiting < 0.8 || idle < 0.1) return effort;
    return Math.min(efforts.length - 1, effort + (idle > 0.5 ? 2 : 1));
  };
  return (findings) => {
    looks += 1;
    const before = from;
    from = undefined;
    if (before !== undefined && findings.rate < before.rate * slower) {
      const length = 2 * (pauses.get(effort)?.length ?? firstPause / 2);
      pauses.set(effort, { until: looks + length, length });
      effort = before.effort;
      return effort;
    }
    const next = wanted(findings);
    if (next !== effort && looks >= (pauses.get(next)?.until ?? 0)) {
      from = { effort, rate: findings.rate };
      effort = next;
    }
    return effort;
  };
}

export interface LevelChooser {
  /** The levels for the next frame. */
  levels(): Levels;
  /**
   * A record goes to the stream.
   * @param pages bytes of its pages @param wire bytes of the record @param waiting whether earlier ones still wait for the stream
   */
  sent(pages: number, wire: number, waiting: boolean): void;
  /** In a word: `none`, `3`, or `1/-5` for text and other content. */
  word(): string;
}

/** One level throughout, which is 1 for text at least: less would save it a fifth of the time, and cost a third more bytes. */
function fixed(level: number): LevelChooser {
  const levels = level === 0 ? undefined : { text: Math.max(level, 1), binary: level };
  return { levels: () => levels, sent: () => undefined, word: () => wordOf(levels) };
}

/** @param level the configured one */
export function createLevelChooser(level: CompressionLevel): LevelChooser {
  if (level !== 'auto') return fixed(level);
  const next = createEffortChooser();
  let effort = firstEffort;
  let since = { at: performance.now(), cpu: readCpu() };
  let seen = { bytes: 0, records: 0, waited: 0 };
  let buffered = 0;
  const look = (now: number) => {
    const cpu = readCpu();
    const total = cpu.total - since.cpu.total;
    effort = next({
      waiting: seen.waited / seen.records,
      idle: total === 0 ? 0 : (cpu.idle - since.cpu.idle) / total,
      rate: (seen.bytes * 1000) / (now - since.at),
    });
    since = { at: now, cpu };
    seen = { bytes: 0, records: 0, waited: 0 };
  };
  return {
    levels: () => efforts[effort],
    sent(pages, wire, waiting) {
      if (buffered < bufferBytes) {
        buffered = waiting ? bufferBytes : buffered + wire;
        since.at = performance.now();
        return;
      }
      seen.bytes += pages;
      seen.records += 1;
      if (waiting) seen.waited += 1;
      if (seen.bytes < lookBytes) return;
      const now = performance.now();
      if (now - since.at >= lookMs) look(now);
    },
    word: () => wordOf(efforts[effort]),
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
