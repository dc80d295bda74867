import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { untilAborted, within } from '../../src/base/deadline.js';
import type { XapiError } from '../../src/base/errors.js';

const never = () => new Promise<never>(() => undefined);
const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('a deadline', () => {
  it('gives the result of work that ends in time, or its failure, and does not give up later', async () => {
    let gaveUp = 0;
    const error = new Error('of the work');
    expect(await within(Promise.resolve(7), 1, 'late', () => gaveUp++)).to.equal(7);
    expect(await failureOf(within(Promise.reject(error), 1, 'late', () => gaveUp++))).to.equal(error);
    await delay(5);
    expect(gaveUp).to.equal(0);
  });

  it('says what did not come within what time, and gives up once', async () => {
    let gaveUp = 0;
    const error = (await failureOf(within(never(), 15, 'no answer', () => gaveUp++))) as XapiError;
    expect(error.code).to.equal('INTERNAL_ERROR');
    expect(error.params).to.deep.equal(['no answer within 0.015 s']);
    expect(gaveUp).to.equal(1);
  });

  it('does not mind work that fails after it has given up, or by it', async () => {
    let fail: (error: Error) => void = () => undefined;
    const work = new Promise<never>((_, reject) => {
      fail = reject;
    });
    const giveUp = () => fail(new Error('ended by giving up'));
    const error = (await failureOf(within(work, 1, 'no answer', giveUp))) as XapiError;
    expect(error.params).to.deep.equal(['no answer within 0.001 s']);
  });
});

describe('work that an abort ends', () => {
  it('gives its result, or its own failure, and no longer listens to the signal', async () => {
    const { signal } = new AbortController();
    let listeners = 0;
    const [add, remove] = [signal.addEventListener, signal.removeEventListener];
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1;
      add.apply(signal, args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove.apply(signal, args);
    };
    const error = new Error('of the work');
    expect(await untilAborted(Promise.resolve(7), signal)).to.equal(7);
    expect(await failureOf(untilAborted(Promise.reject(error), signal))).to.equal(error);
    expect(listeners).to.equal(0);
  });

  it("fails with the signal's reason at once when it is aborted", async () => {
    const stop = new AbortController();
    const failure = failureOf(untilAborted(never(), stop.signal));
    const reason = new Error('cancelled');
    stop.abort(reason);
    expect(await failure).to.equal(reason);
  });

  it("fails with the signal's reason when that was aborted before", async () => {
    const reason = new Error('cancelled before');
    expect(await failureOf(untilAborted(Promise.resolve(7), AbortSignal.abort(reason)))).to.equal(reason);
  });

  it('does not mind work that fails after the abort', async () => {
    const stop = new AbortController();
    let fail: (error: Error) => void = () => undefined;
    const work = new Promise<never>((_, reject) => {
      fail = reject;
    });
    const failure = failureOf(untilAborted(work, stop.signal));
    stop.abort(new Error('cancelled'));
    fail(new Error('too late'));
    expect(await failure).to.have.property('message', 'cancelled');
  });

  it('does not let the failure of work that came after the abort end the process', async () => {
    const unhandled: unknown[] = [];
    const listener = (reason: unknown) => unhandled.push(reason);
    process.on('unhandledRejection', listener);
    try {
      const signal = AbortSignal.abort(new Error('cancelled'));
      const failing = Promise.reject(new Error('nobody waits'));
      expect(await failureOf(untilAborted(failing, signal))).to.have.property('message', 'cancelled');
      await delay(0);
      expect(unhandled).to.deep.equal([]);
    } finally {
      process.off('unhandledRejection', listener);
    }
  });
});
