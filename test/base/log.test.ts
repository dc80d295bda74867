import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import {
  createLog,
  formatRecord,
  type LogFields,
  type LogLevel,
  logLevels,
  nullLog,
  type RootLog,
} from '../../src/base/log.js';
import { captureLog } from '../support/log.js';

/** A record as it is written, without its time. */
function line(message: string, fields: LogFields = {}): string {
  return formatRecord({ level: 'info', message, fields }, new Date(0)).replace('1970-01-01T00:00:00.000Z info  ', '');
}

describe('a line of the log', () => {
  it('has the time, the level, the message and the fields', () => {
    const record = { level: 'warn', message: 'VM is paused', fields: { vm: 'v1', rounds: 3 } } as const;
    expect(formatRecord(record, new Date(5))).to.equal('1970-01-01T00:00:00.005Z warn  VM is paused vm=v1 rounds=3');
  });

  for (const [what, value, written] of [
    ['a word', 'word', 'word'],
    ['a text with spaces', 'a b', '"a b"'],
    ['a text with quotes', 'a"b', '"a\\"b"'],
    ['an equals sign', 'a=b', '"a=b"'],
    ['nothing', '', '""'],
    ['two lines', 'a\nb', '"a\\nb"'],
    ['a terminal control', '\u001b[31m', '"\\u001b[31m"'],
    ['true', true, 'true'],
    ['null', null, 'null'],
    ['a bigint', 12n, '12'],
    ['a list', [1, 'a'], '"[1,\\"a\\"]"'],
    ['an object', { a: 1 }, '"{\\"a\\":1}"'],
    ['an object with a bigint', { a: 1n }, '"{\\"a\\":\\"1\\"}"'],
  ] as const) {
    it(`shows ${what}`, () => {
      expect(line('x', { field: value })).to.equal(`x field=${written}`);
    });
  }

  it('leaves out what is undefined, and survives what has no JSON', () => {
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    expect(line('x', { a: undefined, circular })).to.equal('x circular="(cannot be shown)"');
  });

  it('shows an error with its stack and its causes, on one line', () => {
    const error = new Error('outer', { cause: new TypeError('inner', { cause: 'root' }) });
    const text = line('failed', { error });
    expect(text).to.match(
      /^failed error="Error: outer\\n {4}at .*\\ncaused by TypeError: inner\\n {4}at .*\\ncaused by root"$/,
    );
    expect(text).not.to.contain('\n');
    expect(line('failed', { detail: { error } })).to.contain('inner');
  });

  it('survives errors that cause each other', () => {
    const error = new Error('round');
    error.cause = error;
    expect(line('x', { error })).to.contain('round');
  });

  it('keeps a message on its line', () => {
    expect(line('a\nb\u2028c')).to.equal('a\\nb\\u2028c');
  });

  for (const name of [
    'password',
    'session_id',
    'token',
    'secret',
    'pool_secret',
    'newPassword',
    'sessionId',
    'SECRET',
  ]) {
    it(`hides ${name}, at any depth`, () => {
      expect(line('x', { [name]: 'hush' })).to.equal(`x ${name}=***`);
      expect(line('x', { call: [{ [name]: 'hush' }] })).to.not.contain('hush');
    });
  }

  it('hides the session in a URL, in the message, a field and an error', () => {
    const url = 'http://h/migrate/vm/1?session_id=OpaqueRef:1-2&x=1';
    const text = line(url, { url, error: new Error(url) });
    expect(text).not.to.contain('OpaqueRef');
    expect(text.match(/session_id=\*\*\*&x=1/g)).to.have.length(3);
  });
});

describe('the log', () => {
  let directory: string;
  let path: string;
  let open: RootLog[];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'log-'));
    path = join(directory, 'a.log');
    open = [];
  });
  afterEach(async () => {
    for (const log of open) await log.close();
    rmSync(directory, { recursive: true, force: true });
  });

  function fileLog(level: LogLevel = 'info'): RootLog {
    const log = createLog({ destination: path, level });
    open.push(log);
    return log;
  }
  const lines = (file = path) => readFileSync(file, 'utf8').split('\n').slice(0, -1);
  const messages = () => lines().map((text) => text.split(' ').slice(1).join(' ').trim());

  for (const [index, level] of logLevels.entries()) {
    it(`at ${level} writes what is as grave, and says so`, () => {
      const log = fileLog(level);
      for (const each of logLevels) log[each]('x');
      const written = logLevels.slice(0, index + 1);
      expect(messages()).to.deep.equal(written.map((each) => `${each.padEnd(5)} x`));
      expect(logLevels.filter((each) => log.enabled(each))).to.deep.equal(written);
      expect(logLevels.filter((each) => log.child({}).enabled(each))).to.deep.equal(written);
    });
  }

  it('changes its level while it runs, for its children as well', () => {
    const log = fileLog();
    const child = log.child({ a: 1 });
    child.debug('one');
    log.setLevel('debug');
    child.debug('two');
    expect(messages()).to.deep.equal(['debug two a=1']);
  });

  it('has children that add fields, the inner over the outer', () => {
    const log = fileLog();
    log.child({ a: 1, b: 1 }).child({ b: 2 }).info('x', { c: 3 });
    expect(messages()).to.deep.equal(['info  x a=1 b=2 c=3']);
  });

  it('takes fields named as those that winston uses itself', () => {
    fileLog().info('x', { message: 'm', level: 'error', stack: 's', splat: '%s' });
    expect(messages()).to.deep.equal(['info  x message=m level=error stack=s splat=%s']);
  });

  it('appends to a file, and has written a record when it returns', () => {
    fileLog().info('one');
    fileLog().info('two');
    expect(lines()).to.have.length(2);
  });

  it('opens its file anew after it was renamed', () => {
    const log = fileLog();
    log.info('old');
    renameSync(path, `${path}.1`);
    log.info('still old');
    expect(existsSync(path)).to.equal(false);
    log.reopen();
    log.info('new');
    expect(lines(`${path}.1`)).to.have.length(2);
    expect(messages()).to.deep.equal(['info  new']);
  });

  it('stays with its file when it cannot open it anew', () => {
    const log = fileLog();
    const moved = `${directory}-moved`;
    renameSync(directory, moved);
    try {
      expect(() => log.reopen()).to.throw('ENOENT');
      log.info('kept');
      expect(lines(join(moved, 'a.log'))).to.have.length(1);
    } finally {
      renameSync(moved, directory);
    }
  });

  it('takes records after it was closed, and drops them', async () => {
    const log = fileLog();
    log.info('one');
    await log.close();
    log.info('two');
    expect(messages()).to.deep.equal(['info  one']);
  });

  it('refuses a file that cannot be opened', () => {
    expect(() => createLog({ destination: join(directory, 'no', 'such'), level: 'info' })).to.throw('ENOENT');
  });

  it('goes to the standard error, and has written all of it when it is closed', () => {
    const module = fileURLToPath(new URL('../../src/base/log.js', import.meta.url));
    const script = `const { createLog } = await import(${JSON.stringify(module)});
      const log = createLog({ destination: 'stderr', level: 'info' });
      for (let i = 0; i < 5000; i++) log.info('x', { i });
      await log.close();
      process.exit();`;
    const output = execFileSync('sh', ['-c', `"$0" --input-type=module -e "$1" 2>&1`, process.execPath, script], {
      encoding: 'utf8',
    });
    expect(output.split('\n').filter((text) => text.includes(' info  x i='))).to.have.length(5000);
  });
});

describe('logs for tests', () => {
  it('goes nowhere', () => {
    nullLog.child({ a: 1 }).error('x');
    expect(nullLog.enabled('error')).to.equal(false);
  });

  it('keeps what was logged', () => {
    const captured = captureLog();
    captured.log.child({ a: 1 }).warn('x', { b: 2 });
    captured.log.debug('y');
    expect(captured.records[0]).to.deep.equal({ level: 'warn', message: 'x', fields: { a: 1, b: 2 } });
    expect(captured.messages()).to.deep.equal(['x', 'y']);
    expect(captured.messages('warn')).to.deep.equal(['x']);
  });
});
