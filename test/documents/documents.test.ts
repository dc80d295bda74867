/** The documents do what they say: their commands are run, in order, as a reader runs them, and their links lead somewhere. */
import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect } from 'chai';
import { type Command, documentFiles, outputPattern, parseDocument, readDocument, root } from './document.js';
import { type Reader, startReader } from './shell.js';

/** What is not run: what takes long, needs root, changes the machine, or runs the tests themselves. */
const notRun: readonly (readonly [string, string])[] = [
  ['README.md', 'npm ci'],
  ['README.md', 'npm pack\nnpm install -g ./xenferry-*.tgz'],
  ['docs/operations.md', 'xenferryd --config /etc/xenferry/xenopsd.conf --check-config && systemctl reload xenferryd'],
  ['docs/operations.md', 'xe vm-reset-powerstate uuid=UUID --force'],
  ['docs/performance.md', 'npm run --silent demo -- --json'],
  ['docs/performance.md', 'npm run --silent bench\nnpm run --silent bench -- --json > figures.json'],
];

const longestLine = 100;

const documents = documentFiles().map(readDocument);

for (const { file, commands } of documents) {
  const runnable = commands.filter(({ kind }) => kind !== 'not-run');
  if (runnable.length === 0) continue;
  describe(`the commands of ${file}`, function () {
    // The demonstration takes half a minute on a machine that does nothing else.
    this.timeout(300_000);
    let reader: Reader;
    before(async () => {
      reader = await startReader();
    });
    after(async () => {
      expect(await reader.leave()).to.deep.equal([]);
    });
    for (const command of runnable) it(titleOf(command), () => reader.run(command));
  });
}

function titleOf({ text, kind }: Command): string {
  const [first, ...others] = text.split('\n');
  return `${first}${others.length === 0 ? '' : ' ...'}${kind === 'foreground' ? ' (in the foreground)' : ''}`;
}

describe('the documents', () => {
  it('have few commands that are not run', () => {
    const marked = documents.flatMap(({ file, commands }) =>
      commands.filter(({ kind }) => kind === 'not-run').map(({ text }) => [file, text]),
    );
    expect(marked).to.deep.equal(notRun);
  });

  it('have lines that fit a screen, but in tables and where a program prints longer ones', () => {
    const long = documents.flatMap(({ file, lines, commands }) => {
      const printed = commands.flatMap(({ output = '' }) => output.split('\n'));
      const others = lines.filter((line) => !line.startsWith('|') && !printed.includes(line));
      return others.filter((line) => line.length > longestLine).map((line) => `${file}: ${line}`);
    });
    expect(long).to.deep.equal([]);
  });

  it('have links to what there is', () => {
    const anchors = new Map(documents.map((document) => [document.file, document.anchors]));
    const broken = documents.flatMap(({ file, links }) => {
      const local = links.filter((link) => !/^https?:/.test(link));
      return local.filter((link) => !isThere(file, link, anchors)).map((link) => `${file}: ${link}`);
    });
    expect(broken).to.deep.equal([]);
  });
});

function isThere(file: string, link: string, anchors: ReadonlyMap<string, readonly string[]>): boolean {
  const [path, anchor] = link.split('#');
  const target = path ? normalize(join(dirname(file), path)) : file;
  if (!existsSync(join(root, target))) return false;
  return anchor === undefined || (anchors.get(target) ?? []).includes(anchor);
}

describe('a block of a document', () => {
  it('says whether it is run', () => {
    expect(() => parseDocument('a.md', '```\nls\n```')).to.throw(/^a\.md: a block is marked ''.*: ls$/);
    expect(() => parseDocument('a.md', '```bash\nls\n```')).to.throw(/^a\.md: a block is marked 'bash'/);
  });

  it('is found in a list, and has the output that follows', () => {
    const text = '- a list\n\n  ```sh\n  date\n  ```\n\n```sh not-run\nreboot\n```\n\n```output\n12\n```\n';
    expect(parseDocument('a.md', text).commands).to.deep.equal([
      { kind: 'run', text: 'date', output: '12' },
      { kind: 'not-run', text: 'reboot' },
    ]);
  });

  const rows = [
    ['the same', 'one\ntwo', 'one\ntwo\n', true],
    ['another word', 'one\ntwo', 'one\nthree\n', false],
    ['a line more', 'one', 'one\ntwo\n', false],
    ['other numbers', 'took 1.5 s, 12 MiB', 'took 10.25 s, 3 MiB\n', true],
    ['no number', 'took 1.5 s', 'took long s\n', false],
    ['other columns', 'a   1', 'a 100\n', true],
    ['the rest of a line', 'at /tmp/...', 'at /tmp/x/y\n', true],
    ['any lines', 'one\n...\nfour', 'one\ntwo\nthree\nfour\n', true],
    ['no such line', 'one\n...\nfour', 'one\ntwo\nthree\n', false],
  ] as const;
  for (const [what, shown, printed, same] of rows) {
    it(`${same ? 'takes' : 'refuses'} an output that has ${what}`, () => {
      expect(outputPattern(shown).test(printed)).to.equal(same);
    });
  }
});
