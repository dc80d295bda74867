/** A log whose lines nobody takes, in processes of their own. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const moduleAt = (name: string) => JSON.stringify(fileURLToPath(new URL(`../../src/base/${name}.js`, import.meta.url)));

describe('a log whose lines nobody takes', function () {
  this.timeout(30_000);
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'log-lost-'));
    path = join(directory, 'a.log');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const script = (destination: string, ...lines: string[]) =>
    [
      `import { execFileSync } from 'node:child_process';`,
      `import { createLog } from ${moduleAt('log')};`,
      `import { logPrints } from ${moduleAt('output')};`,
      `const log = createLog({ destination: ${JSON.stringify(destination)}, level: 'info' });`,
      ...lines,
    ].join('\n');

  it('keeps a bounded part for a reader of the standard error that does not read, and then says what it has lost', async () => {
    const text = script(
      'stderr',
      `for (let i = 0; i < 10_000; i++) log.info('x'.repeat(1000));`,
      `process.stdout.write(process.stderr.writableLength + '\\n');`,
      `await new Promise((taken) => process.stderr.write('', taken));`,
      `log.info('after');`,
      'await log.close();',
      'process.exit();',
    );
    const child = spawn(process.execPath, ['--input-type=module', '-e', text]);
    const [length] = await once(child.stdout, 'data');
    expect(Number(String(length))).to.be.within(2 ** 19, 2 ** 21);
    let said = '';
    for await (const chunk of child.stderr) said += chunk;
    const lines = said.trimEnd().split('\n');
    const kept = lines.filter((line) => line.endsWith('xxx')).length;
    expect(lines.at(-2)).to.contain(` warn  ${10_000 - kept} lines of the log were lost: nobody reads them`);
    expect(lines.at(-1)).to.match(/ info {2}after$/);
  });

  it('goes on in its file when the disk has space again, with whole lines, and says what it has lost', () => {
    const text = script(
      path,
      `for (let i = 0; i < 100; i++) log.info('x'.repeat(100));`,
      `execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited']);`,
      `log.info('after');`,
    );
    const command = ['--fsize=4096:unlimited', process.execPath, '--input-type=module', '-e', text];
    execFileSync('prlimit', command);
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    const kept = lines.filter((line) => line.endsWith(` info  ${'x'.repeat(100)}`)).length;
    expect(kept).to.equal(Math.floor(4096 / 132));
    expect(lines.at(-2)).to.match(new RegExp(` warn {2}${100 - kept} lines of the log were lost: `));
    expect(lines.at(-1)).to.match(/ info {2}after$/);
  });

  it('has what libraries print, and what Node warns of, and the standard streams have nothing of it', () => {
    const text = script(
      path,
      'logPrints(log);',
      `console.error(new Error('a failure'), 'of a library');`,
      `console.log('%d pages', 5);`,
      `process.emitWarning('this is old');`,
      `await new Promise(setImmediate);`,
    );
    const command = `"$0" --input-type=module -e "$1" 2>&1`;
    expect(execFileSync('sh', ['-c', command, process.execPath, text], { encoding: 'utf8' })).to.equal('');
    const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
    expect(lines).to.have.length(3);
    expect(lines[0]).to.match(/ warn {2}printed: Error: a failure\\n.* of a library$/);
    expect(lines[1]).to.match(/ info {2}printed: 5 pages$/);
    expect(lines[2]).to.match(/ warn {2}a warning of Node error=.*this is old/);
  });
});
