/** A virtual CPU: 100 ticks a second while it runs, and page writes at a set rate, within its working set. */
import { performance } from 'node:perf_hooks';
import type { Workload } from '../../base/protocol/hypervisor-protocol.js';
import type { Context } from './context.js';
import { nextRandom } from './random.js';

export interface Vcpu {
  start(): void;
  /** Stop: no page is written once this returns. */
  stop(): void;
  /** Run for this share of the time from now on: more than 0, and 1 at full speed. */
  setShare(share: number): void;
}

export interface VcpuInit {
  readonly workload: Workload;
  readonly pages: number;
  /** The counters and the random state, which the virtual CPU moves on. */
  readonly context: Context;
  /** Write one page. @throws when that cannot be done */
  write(pfn: number): void;
  /** Called after each batch with the ticks that went by. */
  ticked(ticks: number): void;
  /** Called when a write failed; the virtual CPU has stopped then. */
  failed(error: unknown): void;
}

const tickMs = 10;
/** How much time that the process was stopped or busy is made up for at most, in milliseconds. */
const catchUpMs = 100;
/** How long one batch of writes may hold the event loop, in milliseconds. */
const batchMs = 8;

/** Make a virtual CPU that stands still until it is started. */
export function createVcpu({ workload, pages, context, write, ticked, failed }: VcpuInit): Vcpu {
  const target = Math.min(pages, Math.ceil(pages * workload.workingSet));
  const pagesPerMs = target === 0 ? 0 : workload.dirtyPagesPerSecond / 1000;
  let timer: NodeJS.Timeout | undefined;
  let share = 1;
  let last = 0;
  /** Time that may still be run for and has not made a tick yet, in milliseconds. */
  let unused = 0;
  let due = 0;

  const writeDue = (began: number): void => {
    for (let count = 1; due >= 1; count++) {
      write(nextRandom(context.random, target));
      context.pagesWritten++;
      due--;
      if (count % 32 === 0 && performance.now() - began > batchMs) return;
    }
  };
  const run = (): void => {
    const now = performance.now();
    unused += Math.min(now - last, catchUpMs) * share;
    last = now;
    const ticks = Math.floor(unused / tickMs);
    if (ticks === 0) return;
    unused -= ticks * tickMs;
    context.ticks += ticks;
    due = Math.min(due + ticks * tickMs * pagesPerMs, catchUpMs * pagesPerMs + 1);
    try {
      writeDue(now);
    } catch (error) {
      clearInterval(timer);
      failed(error);
      return;
    }
    ticked(ticks);
  };
  return {
    start: () => {
      last = performance.now();
      unused = 0;
      timer = setInterval(run, tickMs);
    },
    stop: () => clearInterval(timer),
    setShare: (next) => {
      share = next;
    },
  };
}
