import { expect } from 'chai';
import { optionsHelp, readCommandLine } from '../../../src/base/config/command-line.js';
import { configKeyNames } from '../../../src/base/config/keys.js';

describe('the command line of the daemon', () => {
  for (const [argv, expected] of [
    [[], {}],
    [['--config', 'x', '--port', '1'], { file: 'x', args: ['--port', '1'] }],
    [['--config=x', '--check-config'], { file: 'x', checkConfig: true }],
    [['--help'], { help: true }],
    [['--backup-database', 'x', '--port=1'], { backupTo: 'x', args: ['--port=1'] }],
    [['--backup-database=x', '--config'], { backupTo: 'x', args: ['--config'] }],
  ] as const) {
    it(`is understood: ${argv.join(' ') || '(nothing)'}`, () => {
      const given = { checkConfig: false, help: false, version: false, args: [], ...expected };
      expect(readCommandLine(argv)).to.deep.equal(given);
    });
  }

  it('is refused where it is not UTF-8', () => {
    expect(() => readCommandLine(['--state-dir', '/s\ufffd'])).to.throw('/s\ufffd: has bytes that are not UTF-8');
  });

  it('has help for every key', () => {
    const help = optionsHelp().join('\n');
    for (const key of configKeyNames) expect(help).to.contain(`--${key} VALUE`);
    expect(help).not.to.contain('undefined');
  });
});
