import { expect } from 'chai';
import { adviceOnNode } from '../../src/base/version.js';

describe('what is said of Node at the start', () => {
  for (const [version, isAdvised] of [
    ['20.19.0', false],
    ['20.20.2', false],
    ['21.7.3', false],
    ['22.0.0', true],
    ['24.21.0', true],
    ['100.0.0', true],
  ] as const) {
    it(`is ${isAdvised ? 'nothing' : 'that a newer one is advised'} for ${version}`, () => {
      const advice = adviceOnNode(version);
      if (isAdvised) expect(advice).to.equal(undefined);
      else
        expect(advice).to.match(/^Node 2[01][\d.]+ gets no security updates any more .*; Node 22 or newer is advised$/);
    });
  }
});
