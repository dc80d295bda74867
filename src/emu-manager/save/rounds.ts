/**
 * The rounds of a save: all pages, then what the guest wrote meanwhile, until convergence.ts says that it is enough; then the
 * daemon suspends the guest, and the rest follows in the last round.
 *
 * Pages that change often wait for the last round: those that the guest has written again by the time their turn comes, as far as
 * a look now and then tells, and those that it wrote in two rounds in a row, as many as the downtime has room for.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { addPages, allPages, countPages, hasPage, pagesIn, pagesInBoth, removePages } from '../memory/page-bitmap.js';
import type { Domain, DomainLogDirty } from '../process/domain.js';
import type { PageSender } from './page-sender.js';
import type { Course, Dirtied, Sent } from './progress.js';

export interface RoundsInit {
  readonly domain: Domain;
  readonly sender: PageSender;
  readonly course: Course;
  /** Bytes that were written and are not at the peer yet. */
  readonly queued: () => number;
  /** The time, in milliseconds. */
  readonly now: () => number;
  /** Resolves when the guest stands still. */
  suspend(): Promise<void>;
}

/** Suspend a domain, then send all of its memory. */
export async function sendSuspended(init: RoundsInit): Promise<Sent> {
  await init.suspend();
  await sendRound(init, allPages(init.domain.memory.pages));
  return init.course.end();
}

/** Send a domain's memory while it runs; suspend it. @throws where the rule says to fail, and whatever goes wrong */
export async function sendLive(init: RoundsInit): Promise<Sent> {
  const { course, domain } = init;
  const log = await domain.logDirty();
  let todo = allPages(domain.memory.pages);
  let held: Uint8Array = new Uint8Array(todo.length);
  let before: Uint8Array = held;
  for (;;) {
    removePages(todo, held);
    await sendRound(init, todo, { log, heldBack: countPages(held) });
    const written = await log.readClear();
    todo = Uint8Array.from(written);
    addPages(todo, held);
    const decision = course.next(countPages(written), countPages(todo));
    if (decision.next === 'fail') throw course.failure();
    if (decision.next === 'suspend') break;
    if (decision.next === 'throttle') await log.throttle((100 - decision.percent) / 100);
    held = pagesInBoth(written, before, course.mostHeldBack());
    before = written;
  }
  await init.suspend();
  addPages(todo, await log.readClear());
  await sendRound(init, todo);
  await log.close();
  return course.end();
}

/** A round that is not the last. */
interface Live {
  /** Tells what the guest has written again: that need not be sent yet. */
  readonly log: DomainLogDirty;
  /** So many pages wait for the last round. */
  readonly heldBack: number;
}

async function sendRound(init: RoundsInit, todo: Uint8Array, live?: Live): Promise<void> {
  const { sender, course, now } = init;
  const peeker = live === undefined ? undefined : createPeeker(live.log, now);
  course.begin(countPages(todo), live?.heldBack);
  for (const pfns of pagesIn(todo, sender.atMost)) {
    const wanted = peeker === undefined ? pfns : pfns.filter((pfn) => !peeker.hasAgain(pfn));
    if (wanted.length > 0) await sender.send(wanted);
    peeker?.look();
    course.passed(pfns.length, wanted.length, peeker?.dirtied());
  }
  await sender.flush();
  if (live !== undefined) await drain(init);
  course.sent();
  await peeker?.end();
}

/** Little enough to make no difference. */
const fewBytes = 64 << 10;

/**
 * Wait until the peer has what was written. So a round takes as long as the link does, and the guest does not stand still while
 * buffers empty, nor for a peer that has stopped: the daemon ends a copy in which nothing moves.
 */
async function drain({ course, queued, now }: RoundsInit): Promise<void> {
  for (;;) {
    const began = now();
    const bytes = queued();
    if (bytes < fewBytes) return;
    course.waits(bytes);
    // A machine with many sockets takes a while to tell.
    await delay(Math.max(5, 10 * (now() - began)));
  }
}

/** So often at most it is looked which pages the guest has written again. */
const peekMs = 100;

/** Looks into log-dirty beside the sending, in one round: what it has seen counts until log-dirty is cleared. */
function createPeeker(log: DomainLogDirty, now: () => number) {
  const startedAt = now();
  let lookedAt = startedAt;
  let seen: Uint8Array | undefined;
  let dirtied: Dirtied | undefined;
  let looking: Promise<void> | undefined;
  let failure: unknown;
  const look = async (): Promise<void> => {
    try {
      const { dirty, bitmap } = await log.peek();
      seen = bitmap;
      dirtied = { pages: dirty, perSecond: (dirty / (now() - startedAt)) * 1000 };
    } catch (error) {
      failure = error;
    }
    looking = undefined;
  };
  return {
    hasAgain: (pfn: number) => seen !== undefined && hasPage(seen, pfn),
    dirtied: () => dirtied,
    look(): void {
      if (looking !== undefined || failure !== undefined || now() - lookedAt < peekMs) return;
      lookedAt = now();
      looking = look();
    },
    /** No answer is under way any more. @throws what a look has met */
    async end(): Promise<void> {
      await looking;
      if (failure !== undefined) throw failure;
    },
  };
}
