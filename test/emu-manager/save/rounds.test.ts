/** The rounds by a guest and a clock that the test moves on: what was sent last of each page must be what is in it at the end. */
import { expect } from 'chai';
import fc from 'fast-check';
import { sayingOf } from '../../../src/base/errors.js';
import {
  type ConvergenceStrategy,
  type CopyFigures,
  convergenceStrategies,
} from '../../../src/base/protocol/emu-protocol.js';
import type { Domain, DomainLogDirty } from '../../../src/emu-manager/process/domain.js';
import { createCourse } from '../../../src/emu-manager/save/progress.js';
import { sendLive, sendSuspended } from '../../../src/emu-manager/save/rounds.js';
import { createLogDirty } from '../../../src/hypervisor/guest/log-dirty.js';

const pages = 200;

interface Script {
  readonly strategy: ConvergenceStrategy;
  readonly maxDowntimeMs: number;
  readonly maxRounds: number;
  /** How long a page takes, in milliseconds. */
  readonly msOfPage: number;
  /** The pages that the guest writes while one is sent, at full speed; begins anew at its end. */
  readonly writes: readonly (readonly number[])[];
  /** The bytes that wait for the peer, each time that one asks. */
  readonly queued?: readonly number[];
}

/** A save of a guest that writes as the script says. */
async function run(script: Script, how = sendLive) {
  const memory = new Uint32Array(pages);
  const arrived = new Map<number, number>();
  const sendings: number[] = Array(pages).fill(0);
  const figures: CopyFigures[] = [];
  const shares: number[] = [];
  const queue = [...(script.queued ?? [])];
  const waits: number[] = [];
  const log = createLogDirty(pages);
  let clock = 0;
  let written = 0;
  let step = 0;
  let running = true;
  let share = 1;
  const guestRuns = (): void => {
    clock += script.msOfPage;
    step += 1;
    if (!running || step % Math.round(1 / share) !== 0) return;
    for (const pfn of script.writes[step % script.writes.length] ?? []) {
      memory[pfn] = (memory[pfn] as number) + 1;
      log.mark(pfn);
    }
  };
  const logDirty = async (): Promise<DomainLogDirty> => {
    const session = log.open();
    return {
      readClear: async () => log.readClear(session).bitmap,
      peek: async () => {
        const { dirty, bitmap } = log.peek(session);
        return { dirty, bitmap: Buffer.from(bitmap) };
      },
      throttle: async (next) => {
        share = next;
        shares.push(next);
      },
      close: async () => log.close(session),
    };
  };
  const now = () => clock;
  const course = createCourse({
    ...{ memoryPages: pages, written: () => written, level: () => 'none', now, progress: () => undefined },
    rule: { maxDowntimeMs: script.maxDowntimeMs, maxRounds: script.maxRounds, strategy: script.strategy },
    tell: (told) => figures.push(told),
  });
  const sent = await how({
    ...{ course, now, domain: { memory: { pages }, logDirty } as unknown as Domain },
    queued: () => {
      const bytes = queue.shift() ?? 0;
      if (bytes > 0) clock += 10;
      waits.push(running ? bytes : -1);
      return bytes;
    },
    sender: {
      atMost: 4,
      async send(pfns) {
        for (const pfn of pfns) {
          arrived.set(pfn, memory[pfn] as number);
          sendings[pfn] = (sendings[pfn] as number) + 1;
          written += 4104;
          guestRuns();
          await Promise.resolve();
        }
      },
      flush: async () => undefined,
      level: () => 'none',
    },
    suspend: async () => {
      guestRuns();
      running = false;
    },
  });
  return { memory, arrived, sendings, figures, shares, waits, sent };
}

const idle: Script = { strategy: 'proceed', maxDowntimeMs: 300, maxRounds: 4, msOfPage: 1, writes: [[]] };
/** All of so many pages, in turn. */
const busy = (count: number): readonly number[][] => Array.from({ length: count }, (_, pfn) => [pfn]);

describe('The rounds of a save', () => {
  const scripts = fc.record<Script>({
    strategy: fc.constantFrom<ConvergenceStrategy>('proceed', 'throttle'),
    maxDowntimeMs: fc.constantFrom(1, 100, 300, 3000),
    maxRounds: fc.integer({ min: 1, max: 10 }),
    msOfPage: fc.constantFrom(0.01, 1, 20, 60),
    writes: fc.array(fc.array(fc.nat(pages - 1), { maxLength: 6 }), { minLength: 1, maxLength: 50 }),
  });

  it('bring every page as it is when the guest has stopped, whatever it wrote, and end', async () => {
    await fc.assert(
      fc.asyncProperty(scripts, async (script) => {
        const { memory, arrived, sendings, sent, figures } = await run(script);
        expect(Array.from(memory, (_, pfn) => arrived.get(pfn))).to.deep.equal([...memory]);
        expect(sent.pages).to.equal(sendings.reduce((sum, count) => sum + count, 0));
        expect(sent.pages).to.be.at.most(13 * pages);
        expect(figures.at(-1)).to.include({ round: sent.rounds, pagesLeft: 0 });
      }),
      { numRuns: 300 },
    );
  });

  it('are one while the guest runs, and one that is empty, where it writes nothing', async () => {
    const { sent, figures } = await run(idle);
    expect(sent).to.deep.equal({ rounds: 2, pages });
    expect(figures.at(-1)).to.include({ dirtyPagesPerSecond: 0, throttlePercent: 0 });
  });

  it('are one alone where the guest stands still', async () => {
    const { sent, figures } = await run({ ...idle, writes: busy(pages) }, sendSuspended);
    expect(sent).to.deep.equal({ rounds: 1, pages });
    expect(figures.at(-1)).to.include({ round: 1, pagesLeft: 0, expectedDowntimeMs: 0 });
  });

  it('leave what the guest has written again by its turn to the next', async () => {
    // Looked at every 100 ms, and then after each page: the guest writes the last page all the time.
    const { sendings } = await run({ ...idle, msOfPage: 50, writes: [[pages - 1]] });
    expect(sendings.slice(0, -1).every((count) => count === 1)).to.equal(true);
    expect(sendings.at(-1)).to.equal(1);
  });

  it('leave what is written in two of them to the last, as much as fits', async () => {
    // Rounds too short to be looked at; half of the downtime has room for 25 pages. The guest stops in the fifth round.
    const writes = [...Array(5).fill(busy(100)).flat(), ...Array(1000).fill([])];
    const script: Script = { ...idle, strategy: 'fail', maxDowntimeMs: 51, maxRounds: 10, msOfPage: 0.02, writes };
    const { sendings } = await run(script);
    expect(sendings.slice(1, 25).every((count) => count === 3)).to.equal(true);
    expect(sendings.slice(26, 100).every((count) => count === 5)).to.equal(true);
    expect(sendings.slice(100).every((count) => count === 1)).to.equal(true);
  });

  for (const strategy of convergenceStrategies) {
    it(`end as the strategy ${strategy} says where the guest writes faster than is sent`, async () => {
      const script: Script = { ...idle, strategy, maxDowntimeMs: 60, msOfPage: 0.5, writes: [busy(pages).flat()] };
      if (strategy === 'fail') {
        const failure = await run(script).then(() => 'it ended', sayingOf);
        expect(failure).to.match(/^no convergence: \d+ pages\/s written, 2000 sent; downtime 150 ms, allowed 60$/);
        return;
      }
      const { shares, sent, figures } = await run(script);
      expect(shares).to.deep.equal(strategy === 'proceed' ? [] : [0.8, 0.6, 0.4, 0.2, 0.01]);
      expect(sent.rounds).to.equal(strategy === 'proceed' ? 3 : 8);
      expect(figures.at(-1)).to.include({ throttlePercent: strategy === 'proceed' ? 0 : 99, expectedDowntimeMs: 150 });
    });
  }

  it('slow the guest down no more than it takes', async () => {
    // A page is written while one is sent; at a fifth of the speed the rest of a round fits.
    const writes = Array.from({ length: pages }, (_, pfn) => [pfn, (pfn * 7) % pages]);
    const { shares } = await run({ ...idle, strategy: 'throttle', maxDowntimeMs: 85, msOfPage: 0.5, writes });
    expect(shares.length).to.be.within(1, 4);
  });

  it('are over when the peer has what was written, while the guest still runs', async () => {
    const queued = [9 << 20, 5 << 20, 100, 3 << 20, 3 << 20, 0];
    const { waits, figures } = await run({ ...idle, maxDowntimeMs: 1, maxRounds: 2, writes: busy(100), queued });
    expect(waits).to.deep.equal(queued);
    const rates = figures.filter(({ round, pagesLeft }) => round === 1 && pagesLeft > 0);
    expect(rates.at(-1)?.pagesPerSecond).to.be.closeTo(870, 1);
  });

  it('tell the link and the guest apart', async () => {
    const { figures } = await run({ ...idle, maxDowntimeMs: 1, msOfPage: 2, writes: [[1], [1], [1], [2]] });
    const first = figures.filter(({ round }) => round === 1).at(-1) as CopyFigures;
    expect(first.pagesPerSecond).to.be.closeTo(500, 1);
    expect(first.dirtyPagesPerSecond).to.be.closeTo(5, 0.5);
    expect(first.pagesLeft).to.equal(2);
  });

  it('are told twice a second, and at the end of each', async () => {
    const { figures } = await run({ ...idle, msOfPage: 20 });
    expect(figures.length).to.be.within(8, 12);
    const left = figures.map(({ pagesLeft }) => pagesLeft);
    expect(left).to.deep.equal(left.toSorted((a, b) => b - a));
  });
});
