/** What every program that people start says of itself, and what it does when nobody can read it. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { ownVersion } from '../src/base/version.js';

const programs = { xenferryd: 'main.js', xe: 'cli/xe/main.js', 'xenferry-pool': 'cli/local-pool/main.js' };

for (const [name, file] of Object.entries(programs)) {
  describe(`the program ${name}`, function () {
    this.timeout(20_000);
    const program = fileURLToPath(new URL(`../src/${file}`, import.meta.url));
    const run = (option: string, stdout: number | 'pipe' = 'pipe') => {
      const {
        status,
        stdout: out,
        stderr,
      } = spawnSync(process.execPath, [program, option], {
        stdio: ['ignore', stdout, 'pipe'],
        encoding: 'utf8',
      });
      return { status, out, err: stderr };
    };

    it('says its version', () => {
      expect(run('--version')).to.deep.equal({ status: 0, out: `${name} ${ownVersion()}\n`, err: '' });
    });

    for (const option of ['--help', '-h']) {
      it(`says how it is used: ${option}`, () => {
        const { status, out, err } = run(option);
        expect(`${out}${err}`).to.match(/^Usage:/);
        expect(status).to.equal(0);
      });
    }

    it('says in one line that its output cannot be written', () => {
      const full = openSync('/dev/full', 'w');
      try {
        const { status, err } = run('--help', full);
        expect({ status, err }).to.deep.equal({
          status: 1,
          err: `${name}: cannot write the output: ENOSPC: no space left on device, write\n`,
        });
      } finally {
        closeSync(full);
      }
    });

    it('ends without a word when nobody reads its output', async () => {
      const child = spawn(process.execPath, [program, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
      child.stdout.destroy();
      let err = '';
      child.stderr.on('data', (data) => {
        err += data;
      });
      const [status] = await once(child, 'close');
      expect({ status, err }).to.deep.equal({ status: 0, err: '' });
    });
  });
}
