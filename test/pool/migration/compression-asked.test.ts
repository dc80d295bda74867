import { expect } from 'chai';
import { compressionAsked } from '../../../src/pool/migration/compression-asked.js';

describe('compressionAsked', () => {
  /** options.compress; asked on another host with the pool's default off and on; asked on the same host with it on. */
  const rows: [string | undefined, boolean, boolean, boolean][] = [
    [undefined, false, true, false],
    ['true', true, true, true],
    ['TRUE', true, true, true],
    ['On', true, true, true],
    ['1', true, true, true],
    ['false', false, false, false],
    ['oFF', false, false, false],
    ['0', false, false, false],
    ['', false, true, false],
    ['yes', false, true, false],
    [' true', false, true, false],
    ['2', false, true, false],
  ];
  for (const [given, defaultOff, defaultOn, sameHost] of rows) {
    it(`takes ${given === undefined ? 'an absent option' : JSON.stringify(given)}`, () => {
      const options: Record<string, string> = given === undefined ? {} : { compress: given };
      expect(compressionAsked(options, false, false)).to.equal(defaultOff);
      expect(compressionAsked(options, false, true)).to.equal(defaultOn);
      expect(compressionAsked(options, true, true)).to.equal(sameHost);
    });
  }
});
