import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { directoryKeyOf, takeLock } from '../../src/base/lock.js';

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
  const take = async (kind: string, at: string) => {
    const holder = spawn(process.execPath, [program, kind, at], { stdio: ['pipe', 'pipe', 'inherit'] });
    holders.push(holder);
    const [said] = await once(holder.stdout, 'data');
    return { holder, got: String(said) === 'true\n' };
  };

  it('is held by one process of a kind', async () => {
    expect((await take('test', directory)).got).to.equal(true);
    expect((await take('test', directory)).got).to.equal(false);
    expect(await takeLock('test', directoryKeyOf(directory))).to.equal(false);
    expect((await take('other', directory)).got).to.equal(true);
  });

  it('is one by every path to the directory, and another for another directory', async () => {
    const inside = path.join(directory, 'inside');
    const link = path.join(directory, 'link');
    fs.mkdirSync(inside);
    fs.symlinkSync(inside, link);
    expect(directoryKeyOf(link)).to.equal(directoryKeyOf(`${directory}/./inside/`));
    expect((await take('test', link)).got).to.equal(true);
    expect((await take('test', inside)).got).to.equal(false);
    expect((await take('test', directory)).got).to.equal(true);
  });

  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    it(`is free once its holder has died of ${signal}`, async () => {
      const { holder } = await take('test', directory);
      await end(holder, signal);
      expect((await take('test', directory)).got).to.equal(true);
    });
  }

  it('does not keep its holder alive, and leaves no file behind', async () => {
    const { holder } = await take('test', directory);
    const exit = once(holder, 'exit');
    holder.stdin?.end();
    expect(await exit).to.deep.equal([0, null]);
    expect(fs.readdirSync(directory)).to.deep.equal([]);
  });

  it('is not for a directory that is not there', () => {
    expect(() => directoryKeyOf(path.join(directory, 'nowhere'))).to.throw('ENOENT');
  });
});
