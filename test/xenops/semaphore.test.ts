import { expect } from 'chai';
import fc from 'fast-check';
import { createSemaphore, type Semaphore } from '../../src/xenops/semaphore.js';
import { messageOfFailure } from '../wire/connection/connections.js';

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Ask for a turn; what has begun is noted by its name. */
function asking(semaphore: Semaphore) {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const ask = (name: string, signal?: AbortSignal) =>
    semaphore.take(signal).then((end) => {
      begun.push(name);
      ends.set(name, end);
    });
  return { begun, ask, end: (name: string) => ends.get(name)?.() };
}

describe('a semaphore', () => {
  it('are given in order, as many at once as the limit says', async () => {
    const semaphore = createSemaphore(() => 2);
    const { begun, ask, end } = asking(semaphore);
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
    expect(semaphore.isIdle()).to.equal(true);
  });

  it('pass over who has given up', async () => {
    const semaphore = createSemaphore(() => 1);
    const { begun, ask, end } = asking(semaphore);
    const stop = new AbortController();
    void ask('a');
    const given = messageOfFailure(ask('b', stop.signal));
    void ask('c');
    stop.abort(new Error('enough'));
    expect(await given).to.equal('enough');
    end('a');
    await settled();
    expect(begun).to.deep.equal(['a', 'c']);
    expect(await messageOfFailure(semaphore.take(stop.signal))).to.equal('enough');
    end('c');
    expect(semaphore.isIdle()).to.equal(true);
  });

  it('follow a limit that changes', async () => {
    let limit = 1;
    const semaphore = createSemaphore(() => limit);
    const { begun, ask, end } = asking(semaphore);
    for (const name of ['a', 'b', 'c', 'd']) void ask(name);
    await settled();
    limit = 3;
    semaphore.recheck();
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
    const semaphore = createSemaphore(() => 1);
    expect([semaphore.isFull(), semaphore.isIdle()]).to.deep.equal([false, true]);
    const end = await semaphore.take();
    expect([semaphore.isFull(), semaphore.isIdle()]).to.deep.equal([true, false]);
    end();
    expect([semaphore.isFull(), semaphore.isIdle()]).to.deep.equal([false, true]);
  });

  it('are never more than the limit, and reach everybody who waits', async () => {
    const jobs = fc.array(fc.record({ turns: fc.nat({ max: 4 }), givesUp: fc.boolean() }), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), jobs, async (limit, list) => {
        const semaphore = createSemaphore(() => limit);
        let atOnce = 0;
        const begun: number[] = [];
        const stop = new AbortController();
        const runs = list.map(async (job, index) => {
          const end = await semaphore.take(job.givesUp ? stop.signal : undefined);
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
        expect(semaphore.isIdle()).to.equal(true);
      }),
    );
  });
});
