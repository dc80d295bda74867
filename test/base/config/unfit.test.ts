import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { collectConfig, readConfig } from '../../../src/base/config/config.js';
import { checkConfig } from '../../../src/base/config/report.js';

describe('a configuration that cannot be one', () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'config-'));
    file = join(directory, 'xenopsd.conf');
    mkdirSync(join(directory, 'd'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const write = (text: string, name = 'xenopsd.conf') => writeFileSync(join(directory, name), text);
  const problemsOf = () => collectConfig({ file, args: [] }).problems;

  it('refuses bytes that are not UTF-8, with file and line, and never takes another path for them', () => {
    writeFileSync(file, 'port = 81\n# caf\xe9\npidfile = /p\xff\n', 'latin1');
    expect(problemsOf()).to.deep.equal([`${file}:2: cannot be read: line 2 has bytes that are not UTF-8`]);
    write('config-dir = d');
    write('port = 82', 'd/a.conf');
    writeFileSync(Buffer.from(`${directory}/d/\xff.conf`, 'latin1'), 'port = 83');
    expect(problemsOf()[0]).to.match(/config-dir = .*: cannot be read: the name .*\.conf has bytes that are not UTF-8/);
    write('pidfile = /p\u00e9 # caf\u00e9');
    expect(readConfig({ file, args: [] }).config.pidfile).to.equal('/p\u00e9');
  });

  for (const url of ['https://192.0.2.1:8480', 'HTTPS://host', '192.0.2.1:8480', 'http://me:secret@host']) {
    it(`names ${url}, and what is spoken, where the coordinator is that`, () => {
      write(`coordinator = ${url}`);
      expect(problemsOf()).to.deep.equal([
        `${file}:1: coordinator = ${url}: allowed is a URL of http, such as http://192.0.2.1:8480`,
      ]);
    });
  }

  it('is bounded in all its files together', () => {
    write('config-dir = d');
    for (const name of ['a', 'b', 'c', 'd', 'e']) write(`#${'x'.repeat(2 ** 18 - 1)}`, `d/${name}.conf`);
    expect(problemsOf()).to.deep.equal([
      `${join(directory, 'd/d.conf')}: with it the configuration has more than 1024 KiB in all`,
    ]);
  });

  it('names the first of many lines that are wrong, and counts the rest', async () => {
    write('word\n'.repeat(1000) + 'unknown = 1\n'.repeat(1000));
    const { lines } = await checkConfig({ file, args: [] }, async () => ({ notes: [], problems: [] }));
    const told = (kind: string) => lines.filter((line) => line.startsWith(kind));
    expect(told('error: ')).to.have.length(51);
    expect(told('error: ').at(-1)).to.equal(`error: ${file}: and 950 lines more like these`);
    expect(told('warning: ').at(-1)).to.equal(`warning: ${file}: and 950 lines more like these`);
  });
});
