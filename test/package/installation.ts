/**
 * The package as it is installed: `npm pack`, then `npm install -g` into an empty folder that nobody can write to, then its programs,
 * as another user where root runs this. npm needs its registry, or has what it needs in its cache.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { ownVersion } from '../../src/base/version.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const programs = ['xe', 'xenferry-pool', 'xenferryd'];
const nobody = 65_534;

/** Kinds of files that the package has, by their places. */
const wanted = [
  /^build\/(src|idl)\/.*\.js$/,
  /^src\/.*\.md$/,
  /^docs\/[^/]*\.md$/,
  /^scripts\/linux-guest\/[\w.-]+$/,
  /^etc\/(xe-completion\.bash|xenopsd\.conf)$/,
  /^(package\.json|README\.md|CHANGELOG\.md|LICENSE)$/,
];

describe('the package', function () {
  this.timeout(300_000);
  let directory: string;
  let installed: string;
  let files: readonly string[];
  const environment: NodeJS.ProcessEnv = {};
  const user = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {};
  const run = (program: string, ...args: string[]) =>
    execa(program, args, { env: environment, extendEnv: false, cwd: '/', stdin: 'ignore', ...user });

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'xenferry-package-'));
    await chmod(directory, 0o755);
    await execa('npm', ['pack', '--silent', '--pack-destination', directory], { cwd: root });
    const tarball = join(directory, `xenferry-${ownVersion()}.tgz`);
    files = (await execa('tar', ['-tzf', tarball])).stdout.split('\n').map((file) => file.replace(/^package\//, ''));
    installed = join(directory, 'installed');
    const options = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
    await execa('npm', ['install', '--global', '--prefix', installed, ...options, tarball], { cwd: directory });
    await execa('chmod', ['-R', 'a-w,a+rX', installed]);
    const home = join(directory, 'home');
    await mkdir(home);
    await chmod(home, 0o777);
    environment.HOME = home;
    environment.PATH = [join(installed, 'bin'), dirname(process.execPath), '/usr/bin', '/bin'].join(delimiter);
  });
  after(async () => {
    await execa('chmod', ['-R', 'u+w', directory]);
    await rm(directory, { recursive: true });
  });

  it('has what runs and what says how, and nothing else', () => {
    expect(files.filter((file) => !wanted.some((kind) => kind.test(file)))).to.deep.equal([]);
    expect(wanted.filter((kind) => !files.some((file) => kind.test(file)))).to.deep.equal([]);
  });

  it('gives these programs, each of which says its version and how it is used', async () => {
    expect(await readdir(join(installed, 'bin'))).to.have.members(programs);
    for (const program of programs) {
      expect((await run(program, '--version')).stdout).to.equal(`${program} ${ownVersion()}`);
      expect((await run(program, '--help')).stdout).to.match(/^Usage:/);
    }
  });

  it('takes its sample of a configuration', async () => {
    const sample = join(installed, 'lib/node_modules/xenferry/etc/xenopsd.conf');
    expect((await run('xenferryd', '--config', sample, '--check-config')).stdout).to.include('migration-compressor');
  });

  it('starts a pool in which a VM crosses, and ends it', async () => {
    const before = await changedLast(installed);
    const pool = spawn(join(installed, 'bin', 'xenferry-pool'), ['up', '--hosts', '2', '--vms', '1'], {
      env: environment,
      cwd: '/',
      stdio: ['ignore', 'pipe', 'inherit'],
      ...user,
    });
    const ended = once(pool, 'exit');
    try {
      const said = await readUntil(pool, 'Press Ctrl-C to end it all.');
      expect(said).to.include('  xe vm-list');
      for (const [, name, value] of said.join('\n').matchAll(/(XE_\w+)=(\S+)/g)) environment[name as string] = value;
      expect((await run('xe', 'vm-list', 'params=name-label', '--minimal')).stdout).to.include('vm1');
      for (const [host, compress] of [
        ['host2', 'true'],
        ['host1', 'false'],
      ]) {
        const { stdout } = await run('xe', 'vm-migrate', 'vm=vm1', `host=${host}`, `compress=${compress}`);
        expect(stdout).to.include(`vm1 migrated to ${host}`);
      }
      expect((await run('xenferry-pool', 'down')).stdout).to.match(/^ended /);
      expect(await ended).to.deep.equal([0, null]);
    } finally {
      pool.kill();
      await ended;
    }
    expect(await changedLast(installed)).to.equal(before);
  });
});

/** The lines that a process prints until one of them. @throws Error where it ends before */
async function readUntil({ stdout }: ChildProcess, last: string): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of createInterface({ input: stdout as NodeJS.ReadableStream })) {
    lines.push(line);
    if (line === last) return lines;
  }
  throw new Error(`ended behind ${lines.join('\n')}`);
}

/** When something in a folder was changed last, in milliseconds. */
async function changedLast(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true });
  const times = await Promise.all(names.map(async (name) => (await stat(join(folder, name))).ctimeMs));
  return Math.max(...times);
}
