import { expect } from 'chai';
import {
  createEffortChooser,
  createLevelChooser,
  efforts,
  type Findings,
} from '../../src/emu-manager/compression-level.js';

const mib = 2 ** 20;
const starved: Findings = { waiting: 0, idle: 0, rate: 100 * mib };
const nearlyStarved: Findings = { ...starved, waiting: 0.2 };
const waiting: Findings = { waiting: 1, idle: 0.5, rate: 100 * mib };
const idling: Findings = { ...waiting, idle: 0.8 };
const waitingWithoutCpu: Findings = { ...waiting, idle: 0.02 };
const balanced: Findings = { waiting: 0.6, idle: 0.5, rate: 100 * mib };

/** What is chosen after each of the findings. */
function chosen(all: readonly Findings[]): number[] {
  const choose = createEffortChooser();
  return all.map(choose);
}

/** A copy over a link: at an effort so many bytes a second are made, and so many times fewer go over the link. */
function copyOver(linkBytes: number, looks: number): { efforts: number[]; share: number } {
  const made = [1100, 700, 480, 420, 340, 250, 90, 60].map((rate) => rate * mib);
  const ratios = [1, 1.5, 1.75, 2.1, 2.2, 2.3, 2.4, 2.42];
  const rateOf = (effort: number) => Math.min(made[effort] as number, linkBytes * (ratios[effort] as number));
  const choose = createEffortChooser();
  const used: number[] = [];
  let effort = 2;
  for (let look = 0; look < looks; look += 1) {
    used.push(effort);
    const rate = rateOf(effort);
    const isLimited = linkBytes * (ratios[effort] as number) <= (made[effort] as number);
    effort = choose({ waiting: isLimited ? 1 : 0, idle: isLimited ? 1 - rate / (made[effort] as number) : 0, rate });
  }
  const best = Math.max(...made.map((_, index) => rateOf(index)));
  const seconds = used.slice(10).reduce((sum, each) => sum + 1 / rateOf(each), 0);
  return { efforts: used, share: (used.length - 10) / seconds / best };
}

describe('compression effort', () => {
  for (const [what, findings, expected] of [
    ['falls to pages as they are while the stream takes all at once', [starved, starved], [0, 0]],
    ['falls by a step while the stream takes nearly all at once', [nearlyStarved, nearlyStarved], [1, 0]],
    ['rises while data waits and CPU is idle', [waiting, waiting, waiting], [3, 4, 5]],
    ['rises faster while most of the CPU is idle', [idling, idling, idling], [4, 6, 7]],
    ['stays while data waits and no CPU is idle', [waitingWithoutCpu, waitingWithoutCpu], [2, 2]],
    ['stays while data waits now and then', [balanced, balanced], [2, 2]],
    ['is taken back where it made the copy slower', [waiting, { ...waiting, rate: 90 * mib }, waiting], [3, 2, 2]],
    ['is kept where it made the copy hardly slower', [waiting, { ...waiting, rate: 98 * mib }], [3, 4]],
    ['falls no further where that made the copy slower', [starved, { ...starved, rate: 50 * mib }, starved], [0, 2, 2]],
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

  for (const [name, linkBytes] of [
    ['100 Mbit/s', 11.9 * mib],
    ['1 Gbit/s', 119 * mib],
    ['2.5 Gbit/s', 298 * mib],
    ['10 Gbit/s', 1190 * mib],
    ['a link faster than any codec', 10_000 * mib],
  ] as const) {
    it(`comes within 5% of the best in its first looks over ${name}, and stays there`, () => {
      expect(copyOver(linkBytes, 60).share).to.be.greaterThan(0.95);
    });
  }
});

describe('compression level', () => {
  for (const [level, text, binary, word] of [
    [-5, 1, -5, '1/-5'],
    [1, 1, 1, '1'],
    [3, 3, 3, '3'],
  ] as const) {
    it(`${level} is that of every frame, but for text at 1 where it is less`, () => {
      const chooser = createLevelChooser(level);
      chooser.sent(2 ** 30, 2 ** 30, true);
      expect(chooser.levels()).to.deep.equal({ text, binary });
      expect(chooser.word()).to.equal(word);
    });
  }

  it('0 is pages as they are', () => {
    expect(createLevelChooser(0).levels()).to.equal(undefined);
    expect(createLevelChooser(0).word()).to.equal('none');
  });

  it('auto begins with one for text and another one for the rest', () => {
    expect(createLevelChooser('auto').levels()).to.deep.equal({ text: 1, binary: -5 });
    expect(createLevelChooser('auto').word()).to.equal('1/-5');
  });
});
