import { expect } from 'chai';
import fc from 'fast-check';
import { createTurns, type Turns } from '../../src/xenops/semaphore.js';
import { messageOfFailure } from '../wire/connection/connections.js';

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Ask for a turn; what has begun is noted by its name. */
function asking(turns: Turns) {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const ask = (name: string, signal?: AbortSignal) =>
    turns.take(signal).then((end) => {
      begun.push(name);
      ends.set(name, end);
    });
  return { begun, ask, end: (name: string) => ends.get(name)?.() };
}

describe('turns', () => {
  it('are given in order, as many at once as the limit says', async () => {
    const turns = createTurns(() => 2);
    const { begun, ask, end } = asking(turns);
    for (const name of ['a', 'b', 'c', 'd']) void ask(name);
    await settled();
    expect(begun).to.deep.equal(['a', 'b']);
    end('b');
    await settled();
    expect(begun).to.deep.equal(['a', 'b', 'c']);
    end('a');
    end('c');
    await settled();
    expect(begun).to.deep.equal(['a', 'b', 'c', 'd']);
    end('d');
    expect(turns.isIdle()).to.equal(true);
  });

  it('pass over who has given up', async () => {
    const turns = createTurns(() => 1);
    const { begun, ask, end } = asking(turns);
    const stop = new AbortController();
    void ask('a');
    const given = messageOfFailure(ask('b', stop.signal));
    void ask('c');
    stop.abort(new Error('enough'));
    expect(await given).to.equal('enough');
    end('a');
    await settled();
    expect(begun).to.deep.equal(['a', 'c']);
    expect(await messageOfFailure(turns.take(stop.signal))).to.equal('enough');
    end('c');
    expect(turns.isIdle()).to.equal(true);
  });

  it('follow a limit that changes', async () => {
    let limit = 1;
    const turns = createTurns(() => limit);
    const { begun, ask, end } = asking(turns);
    for (const name of ['a', 'b', 'c', 'd']) void ask(name);
    await settled();
    limit = 3;
    turns.recheck();
    await settled();
    expect(begun).to.deep.equal(['a', 'b', 'c']);
    limit = 1;
    end('a');
    end('b');
    await settled();
    expect(begun).to.deep.equal(['a', 'b', 'c']);
    end('c');
    await settled();
    expect(begun).to.deep.equal(['a', 'b', 'c', 'd']);
  });

  it('say whether who asks has to wait', async () => {
    const turns = createTurns(() => 1);
    expect([turns.isFull(), turns.isIdle()]).to.deep.equal([false, true]);
    const end = await turns.take();
    expect([turns.isFull(), turns.isIdle()]).to.deep.equal([true, false]);
    end();
    expect([turns.isFull(), turns.isIdle()]).to.deep.equal([false, true]);
  });

  it('are never more than the limit, and reach everybody who waits', async () => {
    const jobs = fc.array(fc.record({ turns: fc.nat({ max: 4 }), givesUp: fc.boolean() }), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), jobs, async (limit, list) => {
        const turns = createTurns(() => limit);
        let atOnce = 0;
        const begun: number[] = [];
        const stop = new AbortController();
        const runs = list.map(async (job, index) => {
          const end = await turns.take(job.givesUp ? stop.signal : undefined);
          begun.push(index);
          atOnce += 1;
          expect(atOnce).to.be.at.most(limit);
          for (let turn = 0; turn < job.turns; turn += 1) await Promise.resolve();
          atOnce -= 1;
          end();
        });
        const all = Promise.allSettled(runs);
        await Promise.resolve();
        stop.abort();
        await all;
        expect(begun).to.deep.equal(begun.toSorted((a, b) => a - b));
        for (const [index, job] of list.entries()) if (!job.givesUp) expect(begun).to.include(index);
        expect(turns.isIdle()).to.equal(true);
      }),
    );
  });
});
