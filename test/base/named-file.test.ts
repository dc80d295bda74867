import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { NotUtf8Error, openLogFile, readTextFile, writeTextFile } from '../../src/base/named-file.js';

describe('a file that somebody names', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'named-'));
    path = join(directory, 'file');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const uses: [what: string, use: () => void][] = [
    ['read', () => readTextFile(path)],
    ['written', () => writeTextFile(path, 'x')],
    ['appended to', () => closeSync(openLogFile(path, 0o600))],
  ];
  const kinds: [kind: string, make: () => unknown][] = [
    ['a FIFO', () => execFileSync('mkfifo', [path])],
    ['a device', () => symlinkSync('/dev/zero', path)],
    ['a directory', () => mkdirSync(path)],
  ];
  for (const [what, use] of uses) {
    for (const [kind, make] of kinds) {
      it(`is not ${what} where it is ${kind}, and that is said at once`, () => {
        make();
        expect(use).to.throw(`${path} is ${kind}; allowed is a regular file`);
      });
    }

    it(`is not ${what} where it is a socket`, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(path, resolve));
      expect(use).to.throw(`${path} is a socket; allowed is a regular file`);
      await new Promise((resolve) => server.close(resolve));
    });
  }

  it('is read up to a size, whatever the system says of its size', () => {
    writeFileSync(path, 'x'.repeat(2 ** 18));
    expect(readTextFile(path)).to.have.length(2 ** 18);
    writeFileSync(path, 'x'.repeat(2 ** 18 + 1));
    expect(() => readTextFile(path)).to.throw('it has more than 256 KiB');
    expect(readTextFile('/proc/self/status')).to.contain(`Pid:\t${process.pid}\n`);
  });

  for (const [what, bytes, line] of [
    ['in its first line', 'a\xffb\nc', 1],
    ['in its last', 'a\nb\n\xc3', 3],
    ['cut off at the end of a line', 'a\n\xe2\x82\nb\n\xff', 2],
  ] as const) {
    it(`is refused with the line where bytes are not UTF-8 ${what}`, () => {
      writeFileSync(path, bytes, 'latin1');
      expect(() => readTextFile(path))
        .to.throw(NotUtf8Error, `line ${line} has bytes that are not UTF-8`)
        .with.property('line', line);
    });
  }

  it('is read without a byte order mark', () => {
    writeFileSync(path, '\ufeffé\r\n');
    expect(readTextFile(path)).to.equal('é\r\n');
  });

  it('keeps the code of what the system refuses', () => {
    expect(() => readTextFile(path))
      .to.throw('ENOENT')
      .with.property('code', 'ENOENT');
  });

  it('is made with the mode given, and replaced as a whole', () => {
    writeTextFile(path, 'longer', 0o600);
    writeTextFile(path, 'x', 0o600);
    expect(readFileSync(path, 'utf8')).to.equal('x');
    expect(statSync(path).mode & 0o777).to.equal(0o600);
  });
});
