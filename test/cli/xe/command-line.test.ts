import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { serverUrl } from '../../../src/cli/client/xapi-client.js';
import { type CommandLine, credentialsOf, parseCommandLine } from '../../../src/cli/xe/command-line.js';

describe('the command line of xe', () => {
  const rows: [args: string[], env: Record<string, string>, read: CommandLine][] = [
    [['vm-list'], {}, { command: 'vm-list', words: [], params: [], connection: {} }],
    [
      ['-s', 'h', '-p', '81', '-u', 'me', '-pw', 'a=b', 'vm-list', 'name-label=x=y', '--minimal', '--live=false'],
      {},
      {
        command: 'vm-list',
        words: [],
        params: [
          ['name-label', 'x=y'],
          ['minimal', 'true'],
          ['live', 'false'],
        ],
        connection: { server: 'h', port: '81', username: 'me', password: 'a=b' },
      },
    ],
    [
      ['vm-list', 'server=h', 'username=me'],
      { XE_SERVER: 'e', XE_USER: 'eve', XE_PASSWORD: 'p' },
      { command: 'vm-list', words: [], params: [], connection: { server: 'h', username: 'me', password: 'p' } },
    ],
    [
      ['vm-list', '-s', 'h'],
      { XE_EXTRA_ARGS: 'server=e,password=a\\,b,--debug', XE_SERVER: 'f' },
      { command: 'vm-list', words: [], params: [['debug', 'true']], connection: { server: 'h', password: 'a,b' } },
    ],
    [
      ['help', 'vm-start', '--minimal', 'x='],
      {},
      {
        command: 'help',
        words: ['vm-start'],
        params: [
          ['minimal', 'true'],
          ['x', ''],
        ],
        connection: {},
      },
    ],
    [
      ['vm-list', '-pwf', '/f'],
      { XE_PASSWORD: 'p' },
      { command: 'vm-list', words: [], params: [], connection: { passwordfile: '/f' } },
    ],
  ];
  for (const [args, env, read] of rows) {
    it(`reads ${args.join(' ')} with ${JSON.stringify(env)}`, () => {
      expect(parseCommandLine(args, env)).to.deep.equal(read);
    });
  }

  const urls: [server: string, port: string | undefined, url: string][] = [
    ['host', undefined, 'http://host:8480'],
    ['http://host', undefined, 'http://host'],
    ['host:81', undefined, 'http://host:81'],
    ['host', '81', 'http://host:81'],
    ['host:80', '81', 'http://host'],
    ['http://host:81/', '82', 'http://host:81'],
    ['[::1]:81', undefined, 'http://[::1]:81'],
  ];
  for (const [server, port, url] of urls) {
    it(`takes ${server} for ${url}`, () => expect(serverUrl(server, port)).to.equal(url));
  }

  it('reads a user and a password from a file, and says when it cannot', () => {
    const dir = mkdtempSync(join(tmpdir(), 'xe-test-'));
    try {
      const file = join(dir, 'pw');
      writeFileSync(file, 'me\nsecret\n');
      expect(credentialsOf({ server: 'h', passwordfile: file })).to.deep.equal({
        url: 'http://h:8480',
        username: 'me',
        password: 'secret',
      });
      for (const text of ['me\r\nsecret\r\n', '\ufeffme\nsecret', 'me\nsecret\n\n']) {
        writeFileSync(file, text);
        expect(credentialsOf({ server: 'h', passwordfile: file })).to.include({ username: 'me', password: 'secret' });
      }
      writeFileSync(file, 'me\nsecret\nmore\n');
      expect(() => credentialsOf({ server: 'h', passwordfile: file })).to.throw(
        `the password file ${file} has 3 lines; allowed: a password, or a user and a password`,
      );
      writeFileSync(file, 'secret\n');
      expect(credentialsOf({ server: 'h', passwordfile: file })).to.include({ username: 'root', password: 'secret' });
      expect(() => credentialsOf({ server: 'h', passwordfile: join(dir, 'none') })).to.throw(
        /cannot read the password file/,
      );
      writeFileSync(file, 'me\ns\xe9cret\n', 'latin1');
      expect(() => credentialsOf({ server: 'h', passwordfile: file })).to.throw(
        `cannot read the password file ${file}: line 2 has bytes that are not UTF-8`,
      );
      execFileSync('mkfifo', [`${file}.fifo`]);
      for (const [path, kind] of [
        [`${file}.fifo`, 'a FIFO'],
        ['/dev/zero', 'a device'],
        [dir, 'a directory'],
      ] as const) {
        expect(() => credentialsOf({ server: 'h', passwordfile: path })).to.throw(
          `is ${kind}; allowed is a regular file`,
        );
      }
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
