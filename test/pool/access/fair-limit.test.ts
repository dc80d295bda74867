import { expect } from 'chai';
import { askerOf, createFairLimit } from '../../../src/pool/access/fair-limit.js';

describe('a fair limit', () => {
  it('does so much at once, by turns of those who ask, and refuses what one has too much of', async () => {
    const limit = createFairLimit(1, 3);
    const done: string[] = [];
    const ask = (asker: string, what: string) => limit.run(asker, async () => void done.push(what));
    const asked = ['a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'c1'].map((what) => ask(what.slice(0, 1), what));
    expect(await limit.run('a', async () => 'a5')).to.equal(undefined);
    await Promise.all(asked);
    expect(done).to.deep.equal(['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4']);
  });

  it('goes on after work that fails', async () => {
    const limit = createFairLimit(1, 3);
    const failing = limit.run('a', () => Promise.reject(new Error('no')));
    const next = limit.run('a', async () => 'done');
    expect(await failing.catch(String)).to.equal('Error: no');
    expect(await next).to.equal('done');
  });

  for (const [address, asker] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:DB8:1:2::6', '2001:db8:1:2'],
    ['2001:db8::6', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['', ''],
  ] as const) {
    it(`takes ${address || 'no address'} for ${asker || 'one'}`, () => {
      expect(askerOf(address)).to.equal(asker);
    });
  }
});
