import { expect } from 'chai';
import { pageSize } from '../../../src/base/domain.js';
import type { ConvergenceStrategy } from '../../../src/base/protocol/emu-protocol.js';
import { decide, expectedDowntimeMs, type LiveRound, mostHeldBack } from '../../../src/emu-manager/save/convergence.js';

const memoryPages = 262_144;
const plain = pageSize + 8;

/** A round at 100,000 plain pages a second. */
function round(pages: number, left: number, bytesOfPage = plain, ms = pages / 100): LiveRound {
  return { pages, left, bytes: pages * bytesOfPage, ms };
}

describe('The rounds of a live save', () => {
  const first = round(memoryPages, 60_000);
  const rows: [
    what: string,
    rounds: readonly LiveRound[],
    throttlePercent: number,
    expected: Partial<Record<ConvergenceStrategy, string>>,
  ][] = [
    ['have left nothing', [round(memoryPages, 0)], 0, { proceed: 'suspend', throttle: 'suspend', fail: 'suspend' }],
    ['have left few pages', [round(memoryPages, 49)], 0, { proceed: 'suspend', fail: 'suspend' }],
    [
      'have left what fits',
      [round(memoryPages, 12_000)],
      0,
      { proceed: 'suspend', throttle: 'suspend', fail: 'suspend' },
    ],
    [
      'have left what does not fit',
      [round(memoryPages, 13_000)],
      0,
      { proceed: 'round', throttle: 'round', fail: 'round' },
    ],
    ['shrink', [first, round(60_000, 40_000)], 0, { proceed: 'round', throttle: 'round', fail: 'round' }],
    ['do not shrink', [first, round(60_000, 59_000)], 0, { proceed: 'suspend', throttle: '20%', fail: 'round' }],
    ['grow', [first, round(60_000, 90_000)], 0, { proceed: 'suspend', throttle: '20%', fail: 'round' }],
    [
      'are as many as may be',
      [first, first, first, round(60_000, 40_000)],
      0,
      { proceed: 'suspend', throttle: '20%', fail: 'fail' },
    ],
    ['are more, with a guest slowed down', [first, first, first, first, first], 20, { throttle: '40%' }],
    ['shrink with a guest slowed down', [first, round(60_000, 40_000)], 20, { throttle: '40%' }],
    ['have a guest at a fifth', [first, first, first, first, first], 80, { throttle: '99%' }],
    ['have a guest that hardly runs', [first, first, first, first, first], 99, { throttle: 'suspend' }],
    [
      'are longer than the reader takes',
      [...Array(11).fill(round(memoryPages, memoryPages))],
      20,
      { proceed: 'suspend', throttle: 'suspend', fail: 'fail' },
    ],
  ];
  for (const [what, rounds, throttlePercent, expected] of rows) {
    for (const [strategy, next] of Object.entries(expected)) {
      it(`end or go on as ${strategy} says when they ${what}: ${next}`, () => {
        const rule = { maxDowntimeMs: 300, maxRounds: 4, strategy: strategy as ConvergenceStrategy };
        const decision = decide(rule, { rounds, throttlePercent, memoryPages });
        expect(decision.next === 'throttle' ? `${decision.percent}%` : decision.next).to.equal(next);
      });
    }
  }

  for (const strategy of ['proceed', 'throttle', 'fail'] as const) {
    it(`come to an end whatever the guest writes (${strategy})`, () => {
      const rule = { maxDowntimeMs: 1, maxRounds: 1000, strategy };
      const rounds: LiveRound[] = [];
      let throttlePercent = 0;
      let sent = 0;
      for (let next = 'round'; next === 'round' || next === 'throttle'; ) {
        // A little less each time, so that no round looks like the last that helps.
        rounds.push(round(memoryPages, Math.ceil(memoryPages * 0.89 ** rounds.length)));
        sent += memoryPages;
        const decision = decide(rule, { rounds, throttlePercent, memoryPages });
        if (decision.next === 'throttle') throttlePercent = decision.percent;
        next = decision.next;
      }
      expect(sent / memoryPages).to.be.at.most(12);
    });
  }
});

describe('The expected downtime', () => {
  const fixed = expectedDowntimeMs(0, [round(1000, 0)]);

  it('is the time that the rest takes at the measured rate, and what passes besides', () => {
    expect(expectedDowntimeMs(10_000, [round(memoryPages, 0), round(memoryPages, 0)])).to.be.closeTo(fixed + 100, 0.1);
  });

  it('goes by bytes as they were compressed, but for the first round, which has the zeros: it says little', () => {
    const compressed = round(100_000, 0, 1000);
    expect(expectedDowntimeMs(10_000, [compressed])).to.be.closeTo(fixed + 820.8, 0.1);
    expect(expectedDowntimeMs(10_000, [round(memoryPages, 0), compressed])).to.be.closeTo(fixed + 100, 0.1);
  });

  it('does not trust a round that fits into buffers', () => {
    const slow = round(memoryPages, 0, plain, 100_000);
    const atOnce = round(100, 0, plain, 0.01);
    expect(expectedDowntimeMs(2621, [slow, atOnce])).to.be.closeTo(fixed + 1000, 5);
  });

  it('follows the link of now once a round says enough', () => {
    const slow = round(memoryPages, 0, plain, 100_000);
    expect(expectedDowntimeMs(10_000, [slow, round(10_000, 0)])).to.be.closeTo(fixed + 100, 0.1);
  });

  it('is a number whatever was measured', () => {
    for (const odd of [round(0, 0, plain, 0), round(1, 0, 0, 0), round(0, 0, 0, 5)]) {
      expect(Number.isFinite(expectedDowntimeMs(1000, [odd]))).to.equal(true);
    }
  });

  it('leaves half of itself to pages that change often', () => {
    const rule = { maxDowntimeMs: fixed + 200, maxRounds: 4, strategy: 'proceed' } as const;
    expect(mostHeldBack(rule, [round(memoryPages, 0), round(memoryPages, 0)])).to.be.closeTo(10_000, 1);
    expect(mostHeldBack({ ...rule, maxDowntimeMs: 0 }, [round(memoryPages, 0)])).to.equal(0);
  });
});
