import { expect } from 'chai';
import { ownCommand } from '../../../src/cli/local-pool/own-command.js';

describe('the command line of a program of ours', () => {
  const rows = [
    ['xe', true, 'npm run --silent xe --'],
    ['xe', false, 'xe'],
    ['xenferry-pool', true, 'npm run --silent pool --'],
    ['xenferry-pool', false, 'xenferry-pool'],
  ] as const;
  for (const [program, checkout, begins] of rows) {
    it(`begins with ${begins} in ${checkout ? 'a checkout' : 'an installation'}`, () => {
      expect(ownCommand(program, checkout)).to.equal(begins);
    });
  }

  it('is that of a checkout here', () => {
    expect(ownCommand('xe')).to.equal('npm run --silent xe --');
  });
});
