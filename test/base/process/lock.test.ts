import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { takeLock } from '../../../src/base/process/lock.js';

const program = fileURLToPath(new URL('./lock-holder.js', import.meta.url));

describe('the lock on a directory', () => {
  let directory: string;
  const holders: ChildProcess[] = [];
  beforeEach(() => {
    directory = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-lock-'));
  });
  afterEach(async () => {
    for (const holder of holders.splice(0)) await end(holder, 'SIGKILL');
    fs.rmSync(directory, { recursive: true });
  });
  const end = async (holder: ChildProcess, signal: NodeJS.Signals) => {
    if (holder.exitCode !== null || holder.signalCode !== null) return;
    const exit = once(holder, 'exit');
    holder.kill(signal);
    await exit;
  };
  /** Another process that takes it. */
  const take = async (kind: string, at: string, prefix: readonly string[] = []) => {
    const [command = '', ...args] = [...prefix, process.execPath, program, kind, at];
    const holder = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    holders.push(holder);
    const [said] = await once(holder.stdout, 'data');
    return { holder, got: String(said) === 'true\n' };
  };

  it('is held by one process of a kind', async () => {
    expect((await take('test', directory)).got).to.equal(true);
    expect((await take('test', directory)).got).to.equal(false);
    expect(takeLock('test', directory)).to.equal(undefined);
    expect((await take('other', directory)).got).to.equal(true);
  });

  it('is one by every path to the directory, and another for another directory', async () => {
    const inside = path.join(directory, 'inside');
    const link = path.join(directory, 'link');
    fs.mkdirSync(inside);
    fs.symlinkSync(inside, link);
    expect((await take('test', link)).got).to.equal(true);
    expect((await take('test', `${directory}/./inside/`)).got).to.equal(false);
    expect((await take('test', directory)).got).to.equal(true);
  });

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    it(`is free once its holder has died of ${signal}`, async () => {
      const { holder } = await take('test', directory);
      await end(holder, signal);
      expect((await take('test', directory)).got).to.equal(true);
    });
  }

  const apart = [
    ['unshare', '--net'],
    ['unshare', '--user', '--map-root-user', '--net'],
  ].filter(([command = '', ...args]) => spawnSync(command, [...args, 'true']).status === 0);
  for (const prefix of apart) {
    it(`holds in another network namespace: ${prefix.join(' ')}`, async () => {
      expect((await take('test', directory)).got).to.equal(true);
      expect((await take('test', directory, prefix)).got).to.equal(false);
    });
  }

  it('cannot be taken first by who may not write the directory', async () => {
    const { dev, ino } = fs.statSync(directory);
    const server = net.createServer().listen(`\0xenferry-test-${dev}-${ino}`);
    await once(server, 'listening');
    expect((await take('test', directory)).got).to.equal(true);
    server.close();
  });

  const planted: [what: string, plant: (file: string) => void][] = [
    ['a directory', (file) => fs.mkdirSync(file)],
    ['a FIFO', (file) => execFileSync('mkfifo', [file])],
    ['a link', (file) => fs.symlinkSync('/dev/null', file)],
    ['a link to nothing', (file) => fs.symlinkSync(`${file}-elsewhere`, file)],
  ];
  for (const [what, plant] of planted) {
    it(`is refused with a word for what is in its place: ${what}`, () => {
      plant(path.join(directory, 'test.lock'));
      expect(() => takeLock('test', directory)).to.throw(`${directory} cannot be locked: `);
      expect(fs.existsSync(path.join(directory, 'test.lock-elsewhere'))).to.equal(false);
    });
  }

  it('is refused where the file system may be shared with other machines, or is none for files', () => {
    expect(() => takeLock('test', '/proc/self')).to.throw(
      /^\/proc\/self cannot be locked: its file system \(0x9fa0\) may be shared .*; allowed: ext4, .*tmpfs/,
    );
  });

  it('is free once it is let go of, with its file removed, and who waited for that file has another', async () => {
    const lock = takeLock('test', directory);
    lock?.release();
    expect(fs.readdirSync(directory)).to.deep.equal([]);
    expect((await take('test', directory)).got).to.equal(true);
    expect((await take('test', directory)).got).to.equal(false);
  });

  it('does not keep its holder alive, and is readable by its owner alone', async () => {
    const { holder } = await take('test', directory);
    const exit = once(holder, 'exit');
    holder.stdin?.end();
    expect(await exit).to.deep.equal([0, null]);
    expect(fs.statSync(path.join(directory, 'test.lock')).mode & 0o777).to.equal(0o600);
  });

  it('is not for a directory that is not there', () => {
    expect(() => takeLock('test', path.join(directory, 'nowhere'))).to.throw('ENOENT');
  });
});
