/** What a piece of work costs two daemons: time, CPU of everything that they start, and the memory of their helpers. */
import { setTimeout as delay } from 'node:timers/promises';
import { childrenOf, cpuSeconds, peakBytes, readProcesses, threadSeconds, treesOf } from './process-cpu.js';

export interface MeasureInit {
  readonly daemons: readonly number[];
  /** Processes below them that do not count. */
  readonly leftOut: readonly number[];
}

export interface Used<T> {
  readonly result: T;
  /** Seconds on the clock, from the start of the work to its end. */
  readonly seconds: number;
  /** CPU time of the daemons' whole trees. */
  readonly cpuSeconds: number;
  /** CPU time of the busier daemon's process alone, as a share of one core. */
  readonly daemonCoreShare: number;
  /** The most memory that one helper has had; 0 where none was seen. */
  readonly helperPeakBytes: number;
}

/**
 * How often to look at the helpers' memory, in milliseconds: a peak that rises later than that before an end is missed.
 */
const lookMs = 50;
/** Time in which helpers end after the work, in milliseconds. */
const endMs = 10_000;

/** Do a piece of work and find out what it cost. The helpers that it starts have ended when this resolves. */
export async function measure<T>(init: MeasureInit, work: () => Promise<T>): Promise<Used<T>> {
  const { daemons, leftOut } = init;
  await helpersEnded(init);
  const peaks = watchHelpers(init);
  try {
    const treeBefore = cpuSeconds(treesOf(readProcesses(), daemons, leftOut));
    const ownBefore = daemons.map(threadSeconds);
    const began = performance.now();
    const result = await work();
    const seconds = (performance.now() - began) / 1000;
    const own = daemons.map((pid, i) => threadSeconds(pid) - (ownBefore[i] as number));
    await helpersEnded(init);
    const tree = cpuSeconds(treesOf(readProcesses(), daemons, leftOut)) - treeBefore;
    return {
      result,
      seconds,
      cpuSeconds: tree,
      daemonCoreShare: Math.max(...own) / seconds,
      helperPeakBytes: peaks.highest(),
    };
  } finally {
    peaks.stop();
  }
}

function watchHelpers({ daemons, leftOut }: MeasureInit) {
  let highest = 0;
  const look = () => {
    const helpers = daemons.flatMap(childrenOf).filter((pid) => !leftOut.includes(pid));
    highest = Math.max(highest, ...helpers.map((pid) => peakBytes(pid) ?? 0));
  };
  const timer = setInterval(look, lookMs);
  return { highest: () => highest, stop: () => clearInterval(timer) };
}

/** A helper's CPU time is its daemon's when the daemon has waited for it. */
async function helpersEnded({ daemons, leftOut }: MeasureInit): Promise<void> {
  const limit = Date.now() + endMs;
  for (;;) {
    const left = treesOf(readProcesses(), daemons, leftOut).filter(({ pid }) => !daemons.includes(pid));
    if (left.length === 0) return;
    if (Date.now() > limit) throw new Error(`the helpers ${left.map(({ pid }) => pid).join(', ')} do not end`);
    await delay(10);
  }
}
