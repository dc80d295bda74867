import { expect } from 'chai';
import {
  createEffortChooser,
  createLevelChooser,
  efforts,
  type Findings,
} from '../../../src/emu-manager/save/compression-level.js';

const mib = 2 ** 20;
const starved: Findings = { waiting: 0, idle: 0, rate: 100 * mib };
const nearlyStarved: Findings = { ...starved, waiting: 0.2 };
const waiting: Findings = { waiting: 1, idle: 0.5, rate: 100 * mib };
const faster: Findings = { ...starved, rate: 300 * mib };
const busy: readonly Findings[] = Array.from({ length: 3 }, () => ({ ...waiting, idle: 0.3 }));
const idling: Findings = { ...waiting, idle: 0.8 };
const waitingWithoutCpu: Findings = { ...waiting, idle: 0.02 };
const balanced: Findings = { waiting: 0.6, idle: 0.5, rate: 100 * mib };

/** What is chosen after each of the findings. */
function chosen(all: readonly Findings[]): number[] {
  const choose = createEffortChooser();
  return all.map(choose);
}

interface Copy {
  /** Bytes a second. */
  readonly link: number;
  /** Bytes of compressible pages that each effort makes, a second; there is no end to what is only stored. */
  readonly made: readonly number[];
  /** What share of the pages is random, from look to look. */
  readonly random?: (look: number) => number;
}

/** How many times smaller each effort makes what is not random. */
const shrinks = [1, 1.6, 2, 2.35, 2.5, 2.6, 2.7, 2.72];
const made = [1400, 700, 480, 420, 340, 250, 90, 60].map((rate) => rate * mib);

/** The seconds that a MiB of pages takes at an effort, with what limits it. */
function costOf({ link, made }: Copy, effort: number, random: number) {
  const wire = random + (1 - random) / (shrinks[effort] as number);
  const onLink = (wire * mib) / link;
  const onCpu = ((1 - random) * mib) / (made[effort] as number);
  return {
    wire,
    seconds: Math.max(onLink, onCpu),
    isLinkLimited: onLink >= onCpu,
    busy: onCpu / Math.max(onLink, onCpu),
  };
}

/** The efforts that were used, and how many times as long as with the best one throughout the copy took. */
function copyOver(copy: Copy, looks = 80) {
  const random = copy.random ?? (() => 0.15);
  const choose = createEffortChooser();
  const used: number[] = [];
  let effort = 2;
  let seconds = 0;
  for (let look = 0; look < looks; look += 1) {
    used.push(effort);
    const cost = costOf(copy, effort, random(look));
    seconds += cost.seconds;
    effort = choose({
      waiting: cost.isLinkLimited ? 1 : 0,
      idle: cost.isLinkLimited ? 1 - cost.busy : 0.02,
      rate: (cost.wire * mib) / cost.seconds,
    });
  }
  const throughout = efforts.map((_, each) =>
    used.reduce((sum, _used, look) => sum + costOf(copy, each, random(look)).seconds, 0),
  );
  return { used, ratio: seconds / Math.min(...throughout) };
}

describe('compression effort', () => {
  for (const [what, findings, expected] of [
    ['falls to pages as they are while the stream takes all at once', [starved, faster], [0, 0]],
    ['falls by a step while the stream takes nearly all at once', [nearlyStarved, faster], [1, 0]],
    ['rises while data waits and CPU is idle', [waiting, waiting, waiting], [3, 4, 5]],
    ['rises faster while most of the CPU is idle', [idling, idling, idling], [4, 6, 7]],
    [
      'tries a faster one while data waits and no CPU is idle',
      [waitingWithoutCpu, { ...waitingWithoutCpu, rate: 140 * mib }],
      [1, 0],
    ],
    ['stays while that does not pay', [waitingWithoutCpu, waitingWithoutCpu, waitingWithoutCpu], [1, 2, 2]],
    ['stays while data waits now and then', [balanced, balanced], [2, 2]],
    ['is taken back where it made the copy slower', [waiting, { ...waiting, rate: 75 * mib }, waiting], [3, 2, 1]],
    ['is kept where the stream takes less, but all of it is denser', [waiting, { ...waiting, rate: 90 * mib }], [3, 4]],
    ['stays where a denser one would need more CPU than there is', [{ ...waiting, idle: 0.4 }, ...busy], [3, 4, 5, 4]],
    ['falls no further where that made the copy slower', [starved, { ...starved, rate: 50 * mib }, starved], [0, 2, 1]],
  ] as const) {
    it(what, () => {
      expect(chosen(findings)).to.deep.equal(expected);
    });
  }

  it('rises to the densest in as many looks as there are', () => {
    const findings = Array.from({ length: efforts.length }, () => waiting);
    expect(chosen(findings).at(-1)).to.equal(efforts.length - 1);
  });

  it('tries again later what made the copy slower, at growing intervals', () => {
    const choose = createEffortChooser();
    let effort = 2;
    const tries: number[] = [];
    for (let look = 1; look <= 120; look += 1) {
      const before = effort;
      effort = choose({ ...waiting, rate: effort === 2 ? 100 * mib : 50 * mib });
      if (before === 2 && effort === 3) tries.push(look);
    }
    const gaps = tries.slice(1).map((at, index) => at - (tries[index] as number));
    expect(gaps).to.have.length.greaterThan(1);
    expect(gaps).to.deep.equal(gaps.toSorted((a, b) => a - b));
    expect(gaps[1]).to.be.greaterThan(1.5 * (gaps[0] as number));
  });

  for (const [name, link] of [
    ['100 Mbit/s', 11.9 * mib],
    ['1 Gbit/s', 119 * mib],
    ['2.5 Gbit/s', 298 * mib],
    ['10 Gbit/s', 1190 * mib],
    ['a link faster than any codec', 10_000 * mib],
  ] as const) {
    it(`comes within 5% of the best that is the same throughout over ${name}`, () => {
      expect(copyOver({ link, made }).ratio).to.be.lessThan(1.05);
    });

    it(`does so over ${name} where the pages differ from place to place`, () => {
      const random = (look: number) => 0.4 * ((look * 0.618) % 1);
      expect(copyOver({ link, made, random }).ratio).to.be.lessThan(1.05);
    });
  }

  it('finds the best where it is a single step away, and two are too many', () => {
    const steep = made.map((rate, effort) => (effort < 2 ? rate : rate * 0.8));
    expect(copyOver({ link: 350 * mib, made: steep }).used.filter((effort) => effort === 1)).to.have.length.above(60);
  });

  it('settles within its first 256 MiB', () => {
    for (const [link, effort] of [
      [11.9 * mib, efforts.length - 1],
      [10_000 * mib, 0],
    ] as const) {
      expect(copyOver({ link, made }).used[10]).to.equal(effort);
    }
  });
});

describe('compression level', () => {
  const still = { waiting: () => 1, written: () => 0, queued: () => 0 };

  for (const [level, text, binary, word] of [
    [-5, 1, -5, '1/-5'],
    [1, 1, 1, '1'],
    [3, 3, 3, '3'],
  ] as const) {
    it(`${level} is that of every frame, but for text at 1 where it is less`, () => {
      const chooser = createLevelChooser(level, still);
      chooser.sent(2 ** 30);
      expect(chooser.levels()).to.deep.equal({ text, binary });
      expect(chooser.word()).to.equal(word);
    });
  }

  it('0 is pages as they are', () => {
    expect(createLevelChooser(0, still).levels()).to.equal(undefined);
    expect(createLevelChooser(0, still).word()).to.equal('none');
  });

  it('auto begins with one for text and another one for the rest', () => {
    expect(createLevelChooser('auto', still).levels()).to.deep.equal({ text: 1, binary: -5 });
    expect(createLevelChooser('auto', still).word()).to.equal('1/-5');
  });
});
