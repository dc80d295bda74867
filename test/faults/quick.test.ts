import { expect } from 'chai';
import { allCases, type Case, faults, places, quickSelection } from './cases.js';
import { type Bench, type Result, startBench } from './sweep.js';

/** Only root can give a host a disk so small that it can be filled. */
const isRoot = process.getuid?.() === 0;
const pairs = 3;

const cases = quickSelection(allCases().filter(({ fault }) => isRoot || fault.act.kind !== 'disk'));

describe('A migration that is broken on purpose', function () {
  this.timeout(180_000);
  const queue = [...cases];
  const results = new Map<string, PromiseWithResolvers>();
  for (const { id } of cases) results.set(id, withResolvers());
  let working: Promise<unknown>;

  async function work(): Promise<void> {
    let bench: Bench | undefined;
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) {
      const { resolve, reject } = results.get(one.id) as PromiseWithResolvers;
      try {
        bench ??= await startBench(isRoot);
        const result = await bench.run(one);
        resolve(result);
        if (result.problems.length === 0) continue;
      } catch (error) {
        reject(error);
      }
      await bench?.stop();
      bench = undefined;
    }
    await bench?.stop();
  }

  before(() => {
    // Several pairs side by side: most of a case is waiting.
    working = Promise.all(Array.from({ length: pairs }, work));
  });
  after(async () => {
    queue.length = 0;
    await working;
  });

  for (const one of cases) {
    it(`loses and doubles nothing: ${one.id}`, async () => {
      const { problems, logs, ended } = await (results.get(one.id) as PromiseWithResolvers).promise;
      expect(problems, [ended, ...logs].join('\n')).to.deep.equal([]);
    });
  }

  it('is broken by every fault and at every step', () => {
    const names = (all: readonly Case[]) => new Set(all.map(({ fault }) => fault.name));
    const possible = names(allCases());
    const left = faults.filter(
      ({ name, act }) => possible.has(name) && !names(cases).has(name) && (isRoot || act.kind !== 'disk'),
    );
    expect(left).to.deep.equal([]);
    expect(
      places.filter(({ side, step }) => !cases.some((one) => one.side === side && one.step === step)),
    ).to.deep.equal([]);
  });
});

interface PromiseWithResolvers {
  readonly promise: Promise<Result>;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

function withResolvers(): PromiseWithResolvers {
  let resolve: PromiseWithResolvers['resolve'] = () => undefined;
  let reject: PromiseWithResolvers['reject'] = () => undefined;
  const promise = new Promise<Result>((fulfil, fail) => {
    resolve = fulfil;
    reject = fail;
  });
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}
