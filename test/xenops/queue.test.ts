import { expect } from 'chai';
import fc from 'fast-check';
import { createQueue, type StandAside } from '../../src/xenops/queue.js';
import { createSemaphore } from '../../src/xenops/semaphore.js';
import { messageOfFailure } from '../wire/connection/connections.js';

/** Work that ends when it is told to. */
function openWork(log: string[], name: string) {
  let end: (error?: Error) => void = () => undefined;
  const ended = new Promise<void>((resolve, reject) => {
    end = (error) => (error === undefined ? resolve() : reject(error));
  });
  const operation = async () => {
    log.push(`${name} starts`);
    await ended;
    log.push(`${name} ends`);
    return name;
  };
  return { operation, end };
}

const turnsOfTheLoop = async () => {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

describe('the queue', () => {
  it('runs operations of one lane one after the other, in their order', async () => {
    const log: string[] = [];
    const queue = createQueue(4);
    const works = ['a', 'b', 'c'].map((name) => openWork(log, name));
    const runs = works.map(({ operation }) => queue.run('lane', operation));
    for (const { end } of works.toReversed()) {
      await turnsOfTheLoop();
      end();
    }
    expect(await Promise.all(runs)).to.deep.equal(['a', 'b', 'c']);
    expect(log).to.deep.equal(['a starts', 'a ends', 'b starts', 'b ends', 'c starts', 'c ends']);
  });

  it('runs lanes side by side, as many as there are workers', async () => {
    const log: string[] = [];
    const queue = createQueue(2);
    const works = ['a', 'b', 'c'].map((name) => openWork(log, name));
    const runs = works.map(({ operation }, index) => queue.run(String(index), operation));
    await turnsOfTheLoop();
    expect(log).to.deep.equal(['a starts', 'b starts']);
    works[1]?.end();
    await turnsOfTheLoop();
    expect(log).to.deep.equal(['a starts', 'b starts', 'b ends', 'c starts']);
    for (const { end } of works) end();
    await Promise.all(runs);
  });

  it('lets no worker wait for a lane that is at work', async () => {
    const log: string[] = [];
    const queue = createQueue(2);
    const works = ['a1', 'a2', 'a3', 'b1'].map((name) => openWork(log, name));
    const runs = works.map(({ operation }, index) => queue.run(index < 3 ? 'a' : 'b', operation));
    await turnsOfTheLoop();
    expect(log).to.deep.equal(['a1 starts', 'b1 starts']);
    for (const { end } of works) end();
    await Promise.all(runs);
  });

  it('goes on behind an operation that fails, whether it rejects or throws', async () => {
    const queue = createQueue(1);
    const rejecting = queue.run('lane', () => Promise.reject(new Error('it rejects')));
    const throwing = queue.run('lane', () => {
      throw new Error('it throws');
    });
    const next = queue.run('lane', async () => 'next');
    expect(await messageOfFailure(rejecting)).to.equal('it rejects');
    expect(await messageOfFailure(throwing)).to.equal('it throws');
    expect(await next).to.equal('next');
  });

  it('lets no worker wait for another turn that an operation needs', async () => {
    const log: string[] = [];
    const queue = createQueue(2);
    const semaphore = createSemaphore(() => 1);
    const works = ['a', 'b', 'c', 'd'].map((name) => openWork(log, name));
    const runs = works.map(({ operation }, index) =>
      queue.run(String(index), operation, index < 3 ? { semaphore } : {}),
    );
    await turnsOfTheLoop();
    expect(log).to.have.members(['a starts', 'd starts']);
    for (const { end } of works) end();
    await Promise.all(runs);
    expect(log.filter((line) => line.endsWith('starts')).slice(2)).to.deep.equal(['b starts', 'c starts']);
  });

  it('has no worker for one that stands aside, which goes on when there is one again', async () => {
    const log: string[] = [];
    const queue = createQueue(1);
    let goOn: () => void = () => undefined;
    const elsewhere = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const patient = queue.run('patient', async (standAside: StandAside) => {
      log.push('stands aside');
      await standAside(() => elsewhere);
      log.push('goes on');
    });
    const other = openWork(log, 'other');
    const otherRun = queue.run('other', other.operation);
    await turnsOfTheLoop();
    goOn();
    await turnsOfTheLoop();
    expect(log).to.deep.equal(['stands aside', 'other starts']);
    other.end();
    await Promise.all([patient, otherRun]);
    expect(log.slice(2)).to.deep.equal(['other ends', 'goes on']);
  });

  it('has no turn for one that stands aside either, which goes before those that have not begun', async () => {
    const log: string[] = [];
    const queue = createQueue(4);
    const semaphore = createSemaphore(() => 1);
    let goOn: () => void = () => undefined;
    const elsewhere = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const patient = queue.run(
      'patient',
      async (standAside: StandAside) => {
        await standAside(() => elsewhere);
        log.push('goes on');
      },
      { semaphore },
    );
    const works = ['second', 'third'].map((name) => openWork(log, name));
    const runs = works.map(({ operation }, index) => queue.run(String(index), operation, { semaphore }));
    await turnsOfTheLoop();
    goOn();
    await turnsOfTheLoop();
    expect(log).to.deep.equal(['second starts']);
    for (const { end } of works) end();
    await Promise.all([patient, ...runs]);
    expect(log).to.deep.equal(['second starts', 'second ends', 'goes on', 'third starts', 'third ends']);
  });

  it('takes no worker again for one whose wait fails', async () => {
    const log: string[] = [];
    const queue = createQueue(1);
    const other = openWork(log, 'other');
    let otherRun: Promise<string> | undefined;
    const failure = messageOfFailure(
      queue.run('patient', (standAside) =>
        standAside(async () => {
          otherRun = queue.run('other', other.operation);
          await turnsOfTheLoop();
          throw new Error('cancelled');
        }),
      ),
    );
    expect(await failure).to.equal('cancelled');
    expect(log).to.deep.equal(['other starts']);
    other.end();
    await otherRun;
    expect(await queue.run('third', async () => 'third')).to.equal('third');
  });

  it('forgets one that is given up while it waits, and leaves its lane to the next', async () => {
    const log: string[] = [];
    const queue = createQueue(2);
    const semaphore = createSemaphore(() => 1);
    const ahead = openWork(log, 'ahead');
    const aheadRun = queue.run('ahead', ahead.operation, { semaphore });
    const stop = new AbortController();
    let waits = 0;
    const onWait = () => {
      waits += 1;
    };
    const given = messageOfFailure(queue.run('lane', async () => 'never', { semaphore, signal: stop.signal, onWait }));
    const next = queue.run('lane', async () => 'next', { onWait });
    await turnsOfTheLoop();
    expect(waits).to.equal(2);
    stop.abort(new Error('enough'));
    expect(await given).to.equal('enough');
    expect(await next).to.equal('next');
    ahead.end();
    await aheadRun;
  });

  it('never has two of a lane, nor more than its workers, at work, whatever comes', async () => {
    const jobs = fc.array(fc.record({ lane: fc.integer({ min: 0, max: 4 }), turns: fc.integer({ min: 0, max: 4 }) }), {
      maxLength: 40,
    });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), jobs, async (workers, list) => {
        const queue = createQueue(workers);
        const atWork: number[] = [];
        const done = new Map<number, number[]>();
        const runs = list.map(({ lane, turns: count }, index) =>
          queue.run(String(lane), async () => {
            expect(atWork).not.to.include(lane);
            atWork.push(lane);
            expect(atWork.length).to.be.at.most(workers);
            for (let turn = 0; turn < count; turn += 1) await Promise.resolve();
            atWork.splice(atWork.indexOf(lane), 1);
            done.set(lane, [...(done.get(lane) ?? []), index]);
          }),
        );
        await Promise.all(runs);
        for (const order of done.values()) expect(order).to.deep.equal(order.toSorted((a, b) => a - b));
      }),
    );
  });
});
