import { expect } from 'chai';
import { explore } from '../../migrate/model/explorer.js';
import { arrivalModel, type Bounds, type Flaw, flaws } from './arrivals.js';

const traced = (trace: readonly string[]): string => trace.map((step, at) => `        ${at + 1} ${step}`).join('\n');

describe('A VM that comes from another pool, with daemons killed at every step', () => {
  for (const bounds of [
    { faults: 0, words: 0 },
    { faults: 3, words: 1 },
    { faults: 4, words: 1 },
  ] satisfies Bounds[]) {
    it(`runs once, and its record is there or gone, and not held for ever: ${bounds.faults} kills, ${bounds.words} words`, () => {
      const { states, transitions, goodEnds, violation } = explore(arrivalModel(bounds));
      console.log(`      ${states} states, ${transitions} transitions, ${goodEnds} good ends`);
      expect(violation, violation && `${violation.what}\n${traced(violation.trace)}`).to.equal(undefined);
      expect(goodEnds).to.be.greaterThan(1);
    });
  }

  for (const [flaw, what] of Object.entries(flaws) as [Flaw, string][]) {
    it(`is found out when ${flaw}`, () => {
      const { violation } = explore(arrivalModel({ faults: 2, words: 1, flaw }));
      expect(violation?.what, violation && traced(violation.trace)).to.equal(what);
    });
  }
});
