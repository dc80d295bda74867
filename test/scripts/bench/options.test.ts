import { expect } from 'chai';
import { parseOptions } from '../../../scripts/bench/options.js';

const MiB = 2 ** 20;
const usual = {
  ...{ json: false, qemu: false, scale: false },
  ...{ rounds: 5, memory: 2048 * MiB, migrations: true, api: true },
};

describe('options of the benchmark', () => {
  const rows: readonly [args: string, options: object][] = [
    ['', {}],
    ['--json --rounds 3 --memory 16MiB', { json: true, rounds: 3, memory: 16 * MiB }],
    ['--cases none,pipe', { cases: ['none', 'pipe'], api: false }],
    ['--only migrations', { api: false }],
    ['--only api', { migrations: false }],
    ['--link 1gbit --qemu', { link: '1gbit', qemu: true, api: false }],
    ['--scale', { scale: true }],
  ];
  for (const [args, options] of rows) {
    it(`are understood: ${args || 'none'}`, () => {
      expect(parseOptions(args.split(' ').filter(Boolean))).to.deep.equal({ ...usual, ...options });
    });
  }

  const wrong: readonly [args: string, message: string][] = [
    ['--rounds 0', "--rounds is a whole number from 1 to 1000, not '0'"],
    ['--memory 2TiB', "--memory is a size of whole MiB from 4MiB to 1TiB, not '2TiB'"],
    ['--memory 2048', "--memory is a size of whole MiB from 4MiB to 1TiB, not '2048'"],
    ['--link 10gbit', "--link is 1gbit or 100mbit, not '10gbit'"],
    ['--only bytes', "--only is migrations or api, not 'bytes'"],
    ['--only api --qemu', '--only api has nothing to do with'],
    ['--speed 9', "Unknown option '--speed'"],
  ];
  for (const [args, message] of wrong) {
    it(`are refused: ${args}`, () => {
      expect(() => parseOptions(args.split(' '))).to.throw(message);
    });
  }

  it('ask for help', () => {
    expect(parseOptions(['--help'])).to.equal(undefined);
  });
});
