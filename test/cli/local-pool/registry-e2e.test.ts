import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { execa } from 'execa';
import { countProcesses, endHost } from '../../../src/cli/local-pool/local-processes.js';
import { isAlive } from '../../support/processes.js';

const program = fileURLToPath(new URL('../../../src/cli/local-pool/main.js', import.meta.url));

interface Run {
  readonly child: ChildProcess;
  /** Its directory. */
  readonly state: string;
  readonly name: string;
  readonly coordinator: string;
  /** Its daemons and hypervisors. */
  readonly processes: number[];
}

describe('xenferry-pool, of runs that another one has begun', function () {
  this.timeout(60_000);
  let directory: string;
  let env: Record<string, string>;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'pool-runs-'));
    mkdirSync(join(directory, 'tmp'));
    env = { XDG_STATE_HOME: join(directory, 'notes'), TMPDIR: join(directory, 'tmp') };
  });
  afterEach(async () => {
    await pool('down');
    rmSync(directory, { recursive: true });
  });

  const pool = async (...args: string[]) => {
    const { exitCode, stdout, stderr } = await execa(process.execPath, [program, ...args], { env, reject: false });
    return { exitCode, stdout, stderr };
  };
  const said = (stdout: string) => ({ exitCode: 0, stdout, stderr: '' });

  async function up(...args: string[]): Promise<Run> {
    const all = ['up', '--hosts', '1', '--vms', '0', '--json', ...args];
    const child = spawn(process.execPath, [program, ...all], { env: { ...process.env, ...env } });
    const [line] = await once(child.stdout, 'data');
    const [{ coordinator, hosts }] = JSON.parse(String(line)).pools;
    const hosting = hosts.map(({ config }: { config: string }) => dirname(config)) as string[];
    const pidOf = (file: string) => Number(readFileSync(file, 'utf8'));
    const state = dirname(hosting[0] as string);
    return {
      child,
      state,
      name: basename(state),
      coordinator,
      processes: ['xenferryd.pid', 'hypervisor.pid'].flatMap((file) => hosting.map((host) => pidOf(join(host, file)))),
    };
  }

  async function killed(...args: string[]): Promise<Run> {
    const run = await up(...args);
    const gone = once(run.child, 'exit');
    run.child.kill('SIGKILL');
    await gone;
    return run;
  }

  it('lists those that run, and ends the one that is named, in order', async () => {
    const [first, second] = [await up('--hosts', '2'), await up()];
    const [one, two] = [first, second].sort((a, b) => (a.name < b.name ? -1 : 1)) as [Run, Run];
    const shown = [one, two].map(({ name, state, coordinator, processes }) => {
      return { name, state: 'runs', hosts: processes.length / 2, coordinators: [coordinator], directory: state };
    });
    expect(JSON.parse((await pool('list', '--json')).stdout)).to.deep.equal(shown);
    const ended = once(one.child, 'exit');
    expect(await pool('down', one.name)).to.deep.equal(said(`ended ${one.name}`));
    expect(await ended).to.deep.equal([0, null]);
    expect(one.processes.some(isAlive)).to.equal(false);
    expect(existsSync(one.state)).to.equal(false);
    expect(two.processes.every(isAlive)).to.equal(true);
    expect(await pool('list')).to.deep.equal(
      said(`${two.name}  runs  hosts: ${two.processes.length / 2}  ${two.coordinator}  ${two.state}`),
    );
    expect(await pool('down')).to.deep.equal(said(`ended ${two.name}`));
    expect(await pool('list')).to.deep.equal(said('no pools'));
    expect(await pool('down')).to.deep.equal(said('no pools'));
  });

  it('removes what one that was killed has left, of which the next tells where nobody can answer', async () => {
    const left = await killed();
    expect(left.processes.every(isAlive)).to.equal(true);
    const next = await up();
    let told = '';
    next.child.stderr?.on('data', (chunk) => {
      told += chunk;
    });
    const gone = once(next.child, 'close');
    expect((await pool('down', next.state)).stdout).to.equal(`ended ${next.name}`);
    await gone;
    expect(told).to.equal(
      `xenferry-pool: there is ${left.name}, which a run that was killed has left (processes: 2, ${left.state}); ` +
        `to remove it: npm run --silent pool -- down ${left.name}\n`,
    );
    expect((await pool('list')).stdout).to.match(/^\S+ {2}left by a run that was killed {2}hosts: 1 /);
    expect(await pool('down', left.name)).to.deep.equal(said(`ended ${left.name}`));
    expect(left.processes.some(isAlive)).to.equal(false);
    expect(existsSync(left.state)).to.equal(false);
  });

  it('asks at a terminal whether to remove it', async () => {
    const left = await killed();
    const command = `'${process.execPath}' '${program}' up --hosts 1 --vms 0`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { env: { ...process.env, ...env } });
    let shown = '';
    const asked = new Promise<void>((resolve) => {
      child.stdout.on('data', (chunk) => {
        shown += chunk;
        if (shown.includes('Remove it? [y/N]')) resolve();
      });
    });
    const started = new Promise<void>((resolve) => {
      child.stdout.on('data', () => {
        if (shown.includes('Press Ctrl-C')) resolve();
      });
    });
    await asked;
    child.stdin.write('y\n');
    await started;
    expect(left.processes.some(isAlive)).to.equal(false);
    expect(existsSync(left.state)).to.equal(false);
    const ended = once(child, 'exit');
    child.stdin.write('\u0003');
    await ended;
    expect((await pool('list')).stdout).to.equal('no pools');
  });

  it('leaves a directory in place that somebody named', async () => {
    const state = join(directory, 'state');
    const left = await killed('--state', state);
    expect((await pool('down', state)).stdout).to.equal('ended state');
    expect(left.processes.some(isAlive)).to.equal(false);
    expect(existsSync(join(state, 'pool1-host1', 'xenopsd.conf'))).to.equal(true);
    expect((await pool('list')).stdout).to.equal('no pools');
  });

  it('never takes another process for one of a host because it has its process id', async () => {
    const host = join(directory, 'host');
    mkdirSync(host);
    const other = spawn('sleep', ['60']);
    const exit = once(other, 'exit');
    for (const file of ['xenferryd.pid', 'hypervisor.pid']) writeFileSync(join(host, file), `${other.pid}\n`);
    expect(countProcesses(host)).to.equal(0);
    await endHost(host);
    expect(isAlive(other.pid as number)).to.equal(true);
    other.kill();
    await exit;
  });

  it('names those that there are for one that there is not, and ends nothing', async () => {
    expect(await pool('down', 'none')).to.deep.include({
      exitCode: 1,
      stderr: 'xenferry-pool: there is no none; there are no pools',
    });
    const run = await up();
    expect(await pool('down', run.name, 'none')).to.deep.include({
      exitCode: 1,
      stderr: `xenferry-pool: there is no none; there are: ${run.name}`,
    });
    expect(run.processes.every(isAlive)).to.equal(true);
  });

  for (const args of [['list', '--hosts', '2'], ['down', '--json'], ['up', 'more'], ['begin'], []]) {
    it(`refuses ${args.join(' ') || 'no command'}`, async () => {
      const { exitCode, stderr } = await pool(...args);
      expect(exitCode).to.equal(1);
      expect(stderr).to.match(/; see xenferry-pool --help$/);
    });
  }
});
