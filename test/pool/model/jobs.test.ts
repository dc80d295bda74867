import { expect } from 'chai';
import { explore } from '../../migrate/model/explorer.js';
import { type Bounds, type Flaw, flaws, jobModel } from './jobs.js';

const traced = (trace: readonly string[]): string => trace.map((step, at) => `        ${at + 1} ${step}`).join('\n');

describe('A job of a host, killed and settled at every step', () => {
  for (const bounds of [
    { faults: 0, words: 1 },
    { faults: 3, words: 1 },
    { faults: 4, words: 2 },
  ] satisfies Bounds[]) {
    it(`runs no VM twice, and holds none for ever: ${bounds.faults} kills, ${bounds.words} words`, () => {
      const { states, transitions, goodEnds, violation } = explore(jobModel(bounds));
      console.log(`      ${states} states, ${transitions} transitions, ${goodEnds} good ends`);
      expect(violation, violation && `${violation.what}\n${traced(violation.trace)}`).to.equal(undefined);
      expect(goodEnds).to.be.greaterThan(3);
    });
  }

  for (const [flaw, what] of Object.entries(flaws) as [Flaw, string][]) {
    it(`is found out when ${flaw}`, () => {
      const { violation } = explore(jobModel({ faults: 2, words: 1, flaw }));
      expect(violation?.what).to.equal(what);
    });
  }
});
