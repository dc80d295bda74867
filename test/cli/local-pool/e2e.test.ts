import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { isAlive } from '../../support/processes.js';

const program = fileURLToPath(new URL('../../../src/cli/local-pool/main.js', import.meta.url));
const demo = fileURLToPath(new URL('../../../scripts/demo/main.js', import.meta.url));

interface Printed {
  readonly pools: readonly {
    readonly coordinator: string;
    readonly username: string;
    readonly password: string;
    readonly hosts: readonly {
      readonly name: string;
      readonly uuid: string;
      readonly url: string;
      readonly config: string;
    }[];
    readonly vms: readonly { readonly name: string; readonly uuid: string }[];
  }[];
}

/** Empty for one that is gone, waits for its parent to take note, or is none. */
function commandLineOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

describe('xenferry-pool', function () {
  this.timeout(60_000);

  const notes = mkdtempSync(join(tmpdir(), 'pool-notes-'));
  after(() => rmSync(notes, { recursive: true }));
  const env = { XDG_STATE_HOME: notes };
  const up = (...args: string[]) =>
    execa(process.execPath, [program, 'up', ...args], { stdin: 'pipe', reject: false, env });
  const firstOutput = (child: ReturnType<typeof up>) =>
    new Promise<string>((resolve) => child.stdout?.once('data', (data) => resolve(String(data))));

  it('starts hosts and VMs, and leaves nothing behind when standard input is closed', async () => {
    const child = up('--hosts', '2', '--vms', '1', '--memory', '8MiB', '--json', '--until-eof');
    const line = await firstOutput(child);
    const { pools } = JSON.parse(line) as Printed;
    const [pool] = pools;
    expect(pools).to.have.length(1);
    expect(pool?.hosts.map(({ name }) => name)).to.deep.equal(['host1', 'host2']);
    expect(pool?.vms.map(({ name }) => name)).to.deep.equal(['vm1']);
    expect(pool?.coordinator).to.equal(pool?.hosts[0]?.url);
    const directories = (pool?.hosts ?? []).map(({ config }) => dirname(config));
    const hypervisors = directories.map((dir) => Number(readFileSync(join(dir, 'hypervisor.pid'), 'utf8')));
    expect(hypervisors.every(isAlive)).to.equal(true);
    child.stdin?.end();
    const { exitCode, stdout, stderr } = await child;
    expect({ exitCode, stderr }).to.deep.equal({ exitCode: 0, stderr: '' });
    expect(stdout).to.equal(line.trimEnd());
    expect(hypervisors.some(isAlive)).to.equal(false);
    expect(directories.some((dir) => existsSync(dirname(dir)))).to.equal(false);
    for (const { url } of pool?.hosts ?? []) expect(await fetch(url).catch(() => 'gone')).to.equal('gone');
  });

  it('leaves nothing behind when it is ended while it starts', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pool-test-'));
    const processes = () => readdirSync('/proc').filter((pid) => commandLineOf(pid).includes(directory));
    try {
      const inDirectory = { ...env, TMPDIR: directory };
      const child = execa(process.execPath, [program, 'up', '--hosts', '1', '--vms', '0'], {
        env: inDirectory,
        reject: false,
      });
      // The hypervisor has been started, and does not say so yet.
      while (!String(readdirSync(directory, { recursive: true })).includes('hypervisor.log')) await delay(5);
      child.kill('SIGTERM');
      const { exitCode, stderr } = await child;
      expect({ exitCode, stderr }).to.deep.equal({
        exitCode: 1,
        stderr: 'xenferry-pool: ended before all had started',
      });
      expect(processes()).to.deep.equal([]);
      expect(readdirSync(directory)).to.deep.equal([]);
    } finally {
      for (const pid of processes()) process.kill(Number(pid), 'SIGKILL');
      rmSync(directory, { recursive: true });
    }
  });

  it('ends at Ctrl-C, and prints lines to paste for people', async () => {
    const child = up('--hosts', '1', '--vms', '0');
    const text = await firstOutput(child);
    expect(text).to.match(/export XE_SERVER=http:\/\/127\.0\.0\.1:\d+ XE_USER=root XE_PASSWORD=\S+\n/);
    child.kill('SIGINT');
    expect((await child).exitCode).to.equal(0);
    const url = /http:\S+/.exec(text)?.[0] as string;
    expect(await fetch(url).catch(() => 'gone')).to.equal('gone');
  });

  it('ends in order where nobody reads what it prints any more', async () => {
    const child = up('--hosts', '1', '--vms', '0');
    const directory = dirname(/\S+xenopsd\.conf/.exec(await firstOutput(child))?.[0] as string);
    child.stdout?.destroy();
    child.kill('SIGTERM');
    const { exitCode, stderr } = await child;
    expect({ exitCode, stderr }).to.deep.equal({ exitCode: 0, stderr: '' });
    expect(existsSync(dirname(directory))).to.equal(false);
  });

  it('ends at SIGTERM, keeps a state directory that it was given, and refuses one that is in use', async () => {
    const state = mkdtempSync(join(tmpdir(), 'pool-test-'));
    try {
      const child = up('--hosts', '1', '--vms', '0', '--state', state, '--json');
      await firstOutput(child);
      child.kill('SIGTERM');
      expect((await child).exitCode).to.equal(0);
      expect(readdirSync(state)).to.include('pool1-host1');
      const { exitCode, stderr } = await up('--state', state);
      expect({ exitCode, stderr }).to.deep.equal({
        exitCode: 1,
        stderr: `xenferry-pool: the state directory ${state} is not empty`,
      });
    } finally {
      rmSync(state, { recursive: true });
    }
  });

  const noSize = "Failed to parse parameter 'memory': expecting a size";
  const wrongSize = `${noSize} of less than 8 PiB, not '9999999999GiB'`;
  const wrong: [args: string[], message: string][] = [
    [['--hosts', '0'], "--hosts is a whole number from 1 to 64, not '0'"],
    [['--memory', '0'], "--memory is more than nothing, not '0'"],
    [['--memory', '2GiB', '--memory', 'much'], `${noSize} in bytes, or with the unit KiB, MiB, GiB or TiB, not 'much'`],
    [['--memory', '9999999999GiB'], wrongSize],
    [['--port', '65535'], '--port 65535 leaves no port for every host'],
    [['--port', 'http'], "--port is a whole number from 0 to 65535, not 'http'"],
  ];
  for (const [args, message] of wrong) {
    it(`refuses ${args.join(' ')}`, async () => {
      const { exitCode, stderr } = await up(...args);
      expect({ exitCode, stderr }).to.deep.equal({ exitCode: 1, stderr: `xenferry-pool: ${message}` });
    });
  }
});

describe('the demonstration', function () {
  this.timeout(120_000);

  it('migrates there and back with every compressor, and keeps guest and memory whole', async () => {
    const { exitCode, stdout, stderr } = await execa(process.execPath, [demo, '--json', '--memory', '16MiB'], {
      reject: false,
    });
    expect({ exitCode, stderr }).to.deep.equal({ exitCode: 0, stderr: '' });
    const all = stdout.split('\n').map((line) => JSON.parse(line));
    const expected = ['none', 'none', 'stream', 'stream', 'xenguest', 'xenguest'];
    expect(all.map(({ compressor }) => compressor)).to.deep.equal(expected);
    for (const { compressor, status, memory_intact, guest_running, emu_flags, cookies } of all) {
      expect({ status, memory_intact, guest_running }).to.deep.equal({
        status: 'success',
        memory_intact: true,
        guest_running: true,
      });
      expect(emu_flags.includes('-compress'), compressor).to.equal(compressor === 'xenguest');
      expect(cookies.compress === 'zstd', compressor).to.equal(compressor === 'stream');
    }
  });
});
