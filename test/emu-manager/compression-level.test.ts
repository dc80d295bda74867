import { expect } from 'chai';
import { levelFor, nextEffort } from '../../src/emu-manager/compression-level.js';

describe('compression effort', () => {
  for (const [what, from, streamBusy, idle, to] of [
    ['rises while the stream waits and CPU is idle', 1, 0.9, 0.5, 2],
    ['stays at the highest', 6, 1, 0.9, 6],
    ['stays while the stream waits and CPU is nearly used up', 3, 1, 0.2, 3],
    ['stays while the stream is busy half of the time', 3, 0.5, 0.9, 3],
    ['falls when no CPU is idle', 3, 1, 0.05, 2],
    ['falls when the stream takes all at once', 3, 0.1, 0.9, 2],
    ['stays at the least', 0, 0, 0, 0],
  ] as const) {
    it(what, () => {
      expect(nextEffort(from, { streamBusy, idle })).to.equal(to);
    });
  }

  it('means a level by content when it is the least, and the same level for all above that', () => {
    expect([levelFor('text', 0), levelFor('binary', 0)]).to.deep.equal([1, -2]);
    expect([levelFor('text', 4), levelFor('binary', 4)]).to.deep.equal([4, 4]);
  });
});
