/**
 * When to stop copying a guest that runs: pure, from what was measured.
 *
 * After each round, in this order:
 *
 *   fewer than 50 pages are left, or the rest is expected to fit the downtime: suspend, and send it in the last round
 *   `fail`: another round; after the most rounds the save fails
 *   `proceed`: another round; suspend all the same after the most rounds, or when a round has left as much as the one before
 *   `throttle`: another round; where `proceed` would suspend, slow the guest down by a fifth of its speed more in each round
 *     until the rest fits, and suspend all the same after a round in which it ran at 1%
 *
 * 50 pages and 4 rounds are libxc's rule. Whatever the guest does, the rounds end before the stream is longer than its
 * reader takes.
 */

import { pageSize } from '../../base/domain.js';
import type { ConvergenceRule } from '../../base/protocol/emu-protocol.js';
import { StreamError } from '../../base/stream-error.js';

/** A round that was sent while the guest ran. */
export interface LiveRound {
  /** Pages sent. */
  readonly pages: number;
  /** Bytes that they were in the stream. */
  readonly bytes: number;
  readonly ms: number;
  /** Pages that are to be sent after it, those held back for the last round included. */
  readonly left: number;
}

/** The rounds so far, in their order, and what is known beside them. */
export interface Course {
  readonly rounds: readonly LiveRound[];
  /** By how much the guest was slowed down in the last of them, in percent. */
  readonly throttlePercent: number;
  /** The pages of the guest's memory. */
  readonly memoryPages: number;
}

export type Decision =
  | { readonly next: 'round' | 'suspend' | 'fail' }
  /** Slow the guest down by so many percent, then another round. */
  | { readonly next: 'throttle'; readonly percent: number };

const fewPages = 50;
/** A round that leaves more than this of what the one before left has not brought the end nearer. */
const noProgress = 0.9;
const throttleStep = 20;
const mostThrottle = 99;
/** How often all of the memory is sent at most; a reader accepts 16 times. */
const mostCopies = 12;

/**
 * What passes besides the rest of the pages: to suspend, the state of the CPU, the other side's go; in milliseconds. An idle
 * guest of 1 GiB stands still for about so long on a small machine.
 */
const fixedMs = 50;
/** A rate is that of the last rounds with so many bytes: what buffers on the way take at once says nothing of the link. */
const telling = 8 << 20;
const firstPageBytes = 2 * (pageSize + 8);

/** The failure of a save that gives up because of the guest's writes. */
export function noConvergence(why: string): StreamError {
  return new StreamError('no-convergence', `no convergence: ${why}`);
}

/** @param course with at least one round */
export function decide(rule: ConvergenceRule, { rounds, throttlePercent, memoryPages }: Course): Decision {
  const { left } = rounds.at(-1) as LiveRound;
  if (left < fewPages || expectedDowntimeMs(left, rounds) <= rule.maxDowntimeMs) return { next: 'suspend' };
  const sent = rounds.reduce((sum, { pages }) => sum + pages, 0);
  const isTooLong = sent + 2 * left > mostCopies * memoryPages;
  const isOver = rounds.length >= rule.maxRounds || isTooLong;
  if (rule.strategy === 'fail') return { next: isOver ? 'fail' : 'round' };
  const before = rounds.at(-2)?.left;
  const isStuck = before !== undefined && left > before * noProgress;
  if (rule.strategy === 'proceed') return { next: isOver || isStuck ? 'suspend' : 'round' };
  if (isTooLong || throttlePercent >= mostThrottle) return { next: 'suspend' };
  if (!isOver && !isStuck && throttlePercent === 0) return { next: 'round' };
  return { next: 'throttle', percent: Math.min(mostThrottle, throttlePercent + throttleStep) };
}

/** How long the guest stands still when so many pages are left, in milliseconds; the last of the rounds may still go on. */
export function expectedDowntimeMs(left: number, rounds: readonly Omit<LiveRound, 'left'>[]): number {
  return fixedMs + (left / writtenPagesPerSecond(rounds)) * 1000;
}

/**
 * How many pages that change often may wait for the last round: those that take half of the downtime, so that they do not keep
 * the rest from fitting.
 */
export function mostHeldBack(rule: ConvergenceRule, rounds: readonly LiveRound[]): number {
  const seconds = Math.max(0, rule.maxDowntimeMs - fixedMs) / 1000;
  return Math.floor((seconds / 2) * writtenPagesPerSecond(rounds));
}

/**
 * Pages that the guest has written, sent a second. The first round has zeros in it, which are sent in no time, by this process or
 * by one that compresses behind it, and are not what a guest writes: until there is another one, pages count as not compressed, and
 * as sent at half the rate.
 */
function writtenPagesPerSecond(rounds: readonly Omit<LiveRound, 'left'>[]): number {
  const sum = { bytes: 0, ms: 0, writtenBytes: 0, writtenPages: 0 };
  for (let index = rounds.length - 1; index >= 0 && sum.bytes < telling; index -= 1) {
    const { pages, bytes, ms } = rounds[index] as LiveRound;
    sum.bytes += bytes;
    sum.ms += ms;
    if (index === 0) continue;
    sum.writtenBytes += bytes;
    sum.writtenPages += pages;
  }
  const pageBytes = sum.writtenPages === 0 ? firstPageBytes : sum.writtenBytes / sum.writtenPages;
  return ((Math.max(1, sum.bytes) / Math.max(0.001, sum.ms)) * 1000) / Math.max(1, pageBytes);
}
