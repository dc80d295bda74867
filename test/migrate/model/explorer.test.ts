import { expect } from 'chai';
import { explore } from './explorer.js';
import { migrationModel } from './migration.js';
import { type Bounds, type Flaw, flaws } from './state.js';

/** What is explored: how many states that were is printed. */
const scenarios: readonly (readonly [string, Bounds])[] = [
  ['one attempt, two faults and an operator', { restoredAck: true, attempts: 1, faults: 2, words: 1, late: 1 }],
  [
    'one attempt, two faults and an operator, without 2-restored',
    { restoredAck: false, attempts: 1, faults: 2, words: 1, late: 0 },
  ],
  ['one attempt, one fault, any number of late calls', { restoredAck: true, attempts: 1, faults: 1, words: 1 }],
  ['two attempts, the first one failed', { restoredAck: true, attempts: 2, faults: 0, words: 0, late: 0 }],
];

/** What a flaw needs to show beside one attempt and one fault. */
const needs: Partial<Record<Flaw, Partial<Bounds>>> = {
  'a restarted destination runs what it took without asking': { words: 1 },
  'the source resumes by force before `failed` is durable': { words: 1 },
  'a refusal by the source destroys before `refused` is durable': { words: 1 },
  'the source acknowledges a refusal before `failed` is durable': { late: 1 },
  'a second attempt begins while the first is still to be undone': { attempts: 2 },
  'the destination sends 2-restored to a source that does not wait for it': { restoredAck: false },
};

function traced(trace: readonly string[]): string {
  return trace.map((step, at) => `        ${String(at + 1).padStart(2)} ${step}`).join('\n');
}

describe('The protocol of a migration', function () {
  this.timeout(120_000);

  for (const [name, bounds] of scenarios) {
    it(`runs no VM twice and loses none: ${name}`, () => {
      const { states, transitions, goodEnds, violation } = explore(migrationModel(bounds));
      console.log(`      ${states} states, ${transitions} transitions, ${goodEnds} good ends`);
      expect(violation, violation && `${violation.what}\n${traced(violation.trace)}`).to.equal(undefined);
      expect(goodEnds).to.be.greaterThan(10);
    });
  }

  for (const [flaw, what] of Object.entries(flaws) as [Flaw, string][]) {
    it(`is found out when ${flaw}`, () => {
      const bounds: Bounds = { restoredAck: true, attempts: 1, faults: 1, words: 0, late: 0, ...needs[flaw], flaw };
      const { violation } = explore(migrationModel(bounds));
      expect(violation?.what).to.equal(what);
      if (flaw === 'the source sends 3 before `going` is durable') {
        console.log(`      the shortest way to it:\n${traced(violation?.trace ?? [])}`);
      }
    });
  }
});
