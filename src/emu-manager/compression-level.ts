/**
 * How hard to compress: idle CPU is spent on fewer bytes as long as it is the stream that is waited for, and only then. Where
 * source and destination share a machine, a destination that is short of CPU stalls the stream too: no core is idle then.
 */
import os from 'node:os';

/** Levels of zstd, all of which write frames whose blocks are full but for the last: the reader's bound counts on that. */
const least = { text: 1, binary: -2 } as const;
const mostEffort = 6;
const intervalMs = 100;

/** What was found since the level was last decided. */
export interface Findings {
  /** The share of the time in which there was a frame ready that the stream had not taken yet, 0 to 1. */
  readonly streamBusy: number;
  /** The share of this machine's CPU time that was idle, 0 to 1. */
  readonly idle: number;
}

/** One step up, down or none, from 0 to 6. */
export function nextEffort(effort: number, { streamBusy, idle }: Findings): number {
  if (streamBusy > 0.7 && idle > 0.3) return Math.min(mostEffort, effort + 1);
  if (streamBusy < 0.4 || idle < 0.15) return Math.max(0, effort - 1);
  return effort;
}

/**
 * zstd's level. With the least effort, text gets the level that codes its letters, which saves it a fifth of its bytes for 3%
 * more time; for program code the same would save a tenth for 20%.
 */
export function levelFor(content: keyof typeof least, effort: number): number {
  return effort === 0 ? least[content] : effort;
}

export interface EffortChooser {
  /** The effort for the next frame. */
  next(): number;
  /** A frame is ready to be written, and later has been. */
  frameReady(): void;
  frameTaken(): void;
}

/** Begins with the least effort and decides anew ten times a second. */
export function createEffortChooser(): EffortChooser {
  let effort = 0;
  let cpu = readCpu();
  let decided = performance.now();
  let ready = 0;
  let busySince = 0;
  let busyMs = 0;
  return {
    next() {
      const now = performance.now();
      if (now - decided < intervalMs) return effort;
      if (ready > 0) {
        busyMs += now - busySince;
        busySince = now;
      }
      const before = cpu;
      cpu = readCpu();
      const total = cpu.total - before.total;
      const idle = total === 0 ? 0 : (cpu.idle - before.idle) / total;
      effort = nextEffort(effort, { streamBusy: busyMs / (now - decided), idle });
      busyMs = 0;
      decided = now;
      return effort;
    },
    frameReady() {
      if (ready === 0) busySince = performance.now();
      ready += 1;
    },
    frameTaken() {
      ready -= 1;
      if (ready === 0) busyMs += performance.now() - busySince;
    },
  };
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
