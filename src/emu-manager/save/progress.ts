/** The course of a save: what is measured of its rounds, and told of them. */
import type { ConvergenceRule, CopyFigures } from '../../base/protocol/emu-protocol.js';
import type { StreamError } from '../../base/stream-error.js';
import {
  type Decision,
  decide,
  expectedDowntimeMs,
  type LiveRound,
  mostHeldBack,
  noConvergence,
} from './convergence.js';

export interface CourseInit {
  /** The pages of the guest's memory. */
  readonly memoryPages: number;
  /** Bytes in the stream so far. */
  readonly written: () => number;
  /** How hard is compressed now. */
  readonly level: () => string;
  readonly rule: ConvergenceRule;
  /** The time, in milliseconds. */
  readonly now: () => number;
  /** @param share 0 to 1 */
  progress(share: number): void;
  tell(figures: CopyFigures): void;
}

/** What the guest has written in the round that goes on. */
export interface Dirtied {
  readonly pages: number;
  readonly perSecond: number;
}

export interface Sent {
  readonly rounds: number;
  /** Pages sent, those that were sent again counted again. */
  readonly pages: number;
}

export interface Course {
  /** A round of so many pages begins. @param heldBack how many others wait for the last one; absent where this is the last */
  begin(pages: number, heldBack?: number): void;
  /** So many of its pages were dealt with, and so many of these sent. @param dirtied where it is known */
  passed(pages: number, sent: number, dirtied: Dirtied | undefined): void;
  /** All of its pages are written, and so many bytes of the stream not at the peer yet. */
  waits(bytes: number): void;
  /** All of its pages are sent. */
  sent(): void;
  /** The guest ran in it, wrote so many pages, and so many are left to be sent now: what to do next. */
  next(dirtied: number, left: number): Decision;
  /** How many pages that change often may wait for the last round. */
  mostHeldBack(): number;
  /** Why no more is sent, where the rule says to fail. */
  failure(): StreamError;
  /** Tell the last figures. */
  end(): Sent;
}

/** Figures are told so often at most, and at the end of a round. */
const tellMs = 500;

export function createCourse({ memoryPages, written, level, rule, now, progress, tell }: CourseInit): Course {
  const rounds: LiveRound[] = [];
  let figures: CopyFigures = {
    ...{ round: 0, pagesLeft: memoryPages, pagesPerSecond: 0, dirtyPagesPerSecond: 0, expectedDowntimeMs: 0 },
    ...{ throttlePercent: 0, level: level() },
  };
  let round = { pages: 0, heldBack: 0, isLast: false, passed: 0, sent: 0, waiting: 0, startedAt: 0, startedBytes: 0 };
  let sentBefore = 0;
  let toldAt = 0;

  const measure = () => ({
    pages: round.sent,
    bytes: written() - round.startedBytes,
    ms: Math.max(0.001, now() - round.startedAt),
  });
  const show = (changed: Partial<CopyFigures>): void => {
    figures = { ...figures, level: level(), ...changed };
    toldAt = now();
    tell(figures);
  };
  return {
    begin(pages, heldBack) {
      const isLast = heldBack === undefined;
      const begun = { startedAt: now(), startedBytes: written() };
      round = { ...{ pages, heldBack: heldBack ?? 0, isLast, passed: 0, sent: 0, waiting: 0 }, ...begun };
      figures = { ...figures, round: figures.round + 1 };
    },
    passed(pages, sent, dirtied) {
      round.passed += pages;
      round.sent += sent;
      // Each round covers half of what is left, the first one more.
      const from = figures.round === 1 ? 0 : 1 - 0.2 / 2 ** (figures.round - 2);
      const to = 1 - 0.2 / 2 ** (figures.round - 1);
      progress(from + ((to - from) * round.passed) / round.pages);
      if (now() - toldAt < tellMs) return;
      const current = measure();
      if (current.bytes === 0) return;
      const pagesLeft = round.pages - round.passed + round.heldBack + (dirtied?.pages ?? 0);
      show({
        pagesLeft,
        pagesPerSecond: perSecond(current.pages, current.ms),
        ...(round.isLast ? {} : { expectedDowntimeMs: expectedDowntimeMs(pagesLeft, [...rounds, current]) }),
        ...(dirtied === undefined ? {} : { dirtyPagesPerSecond: dirtied.perSecond }),
      });
    },
    waits(bytes) {
      // Those that move on alone: who watches whether this process writes anything is not to be told that all is well.
      const isLess = bytes < round.waiting;
      round.waiting = bytes;
      if (isLess && now() - toldAt >= tellMs) show({ pagesPerSecond: perSecond(round.sent, measure().ms) });
    },
    sent() {
      const measured = measure();
      rounds.push({ ...measured, left: 0 });
      sentBefore += round.sent;
      // The last round is not waited for to arrive: it says nothing of the link.
      const rate = round.isLast && rounds.length > 1 ? {} : { pagesPerSecond: perSecond(measured.pages, measured.ms) };
      figures = { ...figures, pagesLeft: 0, ...rate };
    },
    next(dirtied, left) {
      const last = { ...(rounds.pop() as LiveRound), left };
      rounds.push(last);
      const decision = decide(rule, { rounds, memoryPages, throttlePercent: figures.throttlePercent });
      show({
        pagesLeft: left,
        dirtyPagesPerSecond: perSecond(dirtied, last.ms),
        expectedDowntimeMs: expectedDowntimeMs(left, rounds),
        ...(decision.next === 'throttle' ? { throttlePercent: decision.percent } : {}),
      });
      return decision;
    },
    mostHeldBack: () => mostHeldBack(rule, rounds),
    failure() {
      const [dirty, sent, downtime] = [figures.dirtyPagesPerSecond, figures.pagesPerSecond, figures.expectedDowntimeMs];
      const rates = `${Math.round(dirty)} pages/s written, ${Math.round(sent)} sent`;
      return noConvergence(`${rates}; downtime ${Math.round(downtime)} ms, allowed ${rule.maxDowntimeMs}`);
    },
    end() {
      show({});
      return { rounds: figures.round, pages: sentBefore };
    },
  };
}

function perSecond(count: number, ms: number): number {
  return (count / ms) * 1000;
}
