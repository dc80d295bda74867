import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { expect } from 'chai';
import { alreadyRunsStatus } from '../../src/base/protocol/hypervisor-protocol.js';
import {
  boot,
  eventually,
  failureOf,
  type HypervisorProcess,
  hypervisorProgram,
  infoOf,
  kill,
  makeDirectory,
  mebibyte,
  specOf,
  startHypervisor,
} from './hypervisor-process.js';

describe('the hypervisor program', () => {
  const started: HypervisorProcess[] = [];
  const start = async (options?: Parameters<typeof startHypervisor>[0]): Promise<HypervisorProcess> => {
    const hypervisor = await startHypervisor(options);
    started.push(hypervisor);
    return hypervisor;
  };
  afterEach(async () => {
    for (const hypervisor of started.splice(0)) await hypervisor.stop();
  });

  it('keeps its domains running when its clients go', async () => {
    const { client, connect } = await start();
    const handle = await boot(client);
    await client.call('unpause', { handle, token: 't' });
    const ticks = (await infoOf(client, handle))?.ticks ?? 0;
    await client.close();
    const next = await connect('daemon');
    await eventually(async () => ((await infoOf(next, handle))?.ticks ?? 0) > ticks || undefined);
    expect((await infoOf(next, handle))?.state).to.equal('running');
  });

  it('leaves what it makes to its owner alone, whatever the umask that it is started with', async () => {
    const directory = makeDirectory();
    fs.mkdirSync(path.join(directory, 'memory'), { mode: 0o700 });
    const umask = process.umask(0);
    try {
      const { client } = await start({ directory });
      await boot(client);
      const made = (fs.readdirSync(directory, { recursive: true }) as string[]).filter((name) => name !== 'memory');
      const open = made.filter((name) => (fs.lstatSync(path.join(directory, name)).mode & 0o077) !== 0);
      expect(made.some((name) => name.endsWith('.memory'))).to.equal(true);
      expect(open).to.deep.equal([]);
    } finally {
      process.umask(umask);
    }
  });

  it('does not end by SIGINT or SIGHUP, and opens its log anew at SIGHUP', async () => {
    const { child, client, directory } = await start();
    const log = path.join(directory, 'hypervisor.log');
    fs.renameSync(log, `${log}.1`);
    child.kill('SIGHUP');
    await eventually(() => fs.existsSync(log) || undefined);
    child.kill('SIGINT');
    await eventually(() => fs.readFileSync(log, 'utf8').includes('SIGINT') || undefined);
    expect((await client.call('list', {})).result).to.deep.equal([]);
  });

  for (const way of ['SIGTERM', 'quit'] as const) {
    it(`ends by ${way} with nothing left behind but its log`, async () => {
      const { child, client, directory } = await start();
      await boot(client);
      const exit = once(child, 'exit');
      if (way === 'quit') await client.call('quit', {});
      else child.kill('SIGTERM');
      expect((await exit)[0]).to.equal(0);
      expect(fs.readdirSync(directory, { recursive: true })).to.have.members(['hypervisor.log', 'memory']);
    });
  }

  for (const [what, fail] of [
    ['an error that nobody has caught', "throw new Error('planted')"],
    ['a failure that nobody waits for', "Promise.reject(new Error('planted'))"],
  ] as const) {
    it(`ends in order at ${what}, with its stack in the log and nothing else left behind`, async () => {
      const hook = `data:text/javascript,process.on('SIGUSR2', () => { ${fail} })`;
      const { child, client, directory } = await start({ nodeArgs: ['--import', hook] });
      await client.call('unpause', { handle: await boot(client), token: 't' });
      const exit = once(child, 'exit');
      child.kill('SIGUSR2');
      expect(await exit).to.deep.equal([1, null]);
      expect(fs.readdirSync(directory, { recursive: true })).to.have.members(['hypervisor.log', 'memory']);
      expect(fs.readFileSync(path.join(directory, 'hypervisor.log'), 'utf8')).to.match(
        /nobody has caught: .*planted\n +at /,
      );
    });
  }

  it('goes on in its old log where the new one cannot be opened', async () => {
    const { child, client, directory } = await start();
    const log = path.join(directory, 'hypervisor.log');
    fs.renameSync(log, `${log}.1`);
    fs.mkdirSync(log);
    child.kill('SIGHUP');
    await eventually(() => fs.readFileSync(`${log}.1`, 'utf8').includes('goes on in its old file') || undefined);
    expect((await client.call('list', {})).result).to.deep.equal([]);
  });

  it('goes on where it has no descriptor for a client', async () => {
    const { child, client, socketPath, connect } = await start();
    const limit = (descriptors: number) =>
      execFileSync('prlimit', ['--pid', String(child.pid), `--nofile=${descriptors}:`]);
    const used = new Set(fs.readdirSync(`/proc/${child.pid}/fd`).map(Number));
    // The lowest one that is free is the next one, whether or not there is a higher one that the program has inherited.
    let next = 0;
    while (used.has(next)) next += 1;
    limit(next);
    const sockets = Array.from({ length: 8 }, () =>
      net
        .connect(socketPath)
        .on('error', () => undefined)
        .resume(),
    );
    await Promise.race(sockets.map((socket) => once(socket, 'close')));
    for (const socket of sockets) socket.destroy();
    limit(1024);
    expect((await client.call('list', {})).result).to.deep.equal([]);
    await eventually(() => connect('helper').catch(() => undefined));
  });

  it('removes at its start what one that was killed left, and refuses its handles', async () => {
    const first = await start();
    const handle = await boot(first.client);
    await kill(first.child);
    expect(first.memoryFiles()).to.have.length(1);
    const { client, memoryFiles } = await start({ directory: first.directory });
    expect(memoryFiles()).to.deep.equal([]);
    expect((await failureOf(client.call('unpause', { handle, token: 't' }))).params.join()).to.contain(
      'another hypervisor',
    );
  });

  it('refuses a state directory on which another one runs', async () => {
    const { directory, client } = await start();
    const { status, stderr } = run('--socket', path.join(directory, 'other'), '--state', directory, '--memory', '4096');
    expect(status).to.equal(alreadyRunsStatus);
    expect(stderr).to.contain(directory);
    await client.call('list', {});
  });

  it('does not take the socket of another one', async () => {
    const { directory, socketPath, client, memoryFiles } = await start();
    const { status, stderr } = run(
      '--socket',
      socketPath,
      '--state',
      path.join(directory, 'other'),
      '--memory',
      '4096',
    );
    expect({ status, stderr }).to.have.property('status', 2);
    expect(stderr).to.contain('somebody listens');
    await client.call('list', {});
    expect(memoryFiles()).to.deep.equal([]);
  });

  describe('refuses a command line', () => {
    let directory: string;
    before(() => {
      directory = makeDirectory();
    });
    after(() => fs.rmSync(directory, { recursive: true }));
    const rows: [string, (state: string) => string[], string][] = [
      ['with something missing', (state) => ['--state', state], '--socket, --state and --memory are needed'],
      [
        'with a memory that is no number',
        (state) => ['--socket', 's', '--state', state, '--memory', '1G'],
        'whole number of bytes',
      ],
      [
        'with an over-long socket path',
        (state) => ['--socket', `/${'x'.repeat(107)}`, '--state', state, '--memory', '1'],
        '107 bytes',
      ],
      ['with an unknown option', () => ['--colour'], '--colour'],
      [
        'without a memory directory',
        (state) => ['--socket', `${state}/s`, '--state', state, '--memory', '1', '--memory-dir', '/nowhere'],
        '/nowhere',
      ],
    ];
    for (const [what, argv, text] of rows) {
      it(what, () => {
        const { status, stderr } = run(...argv(directory));
        expect(status).to.equal(2);
        expect(stderr).to.contain(text).and.to.contain('usage:');
      });
    }
  });

  it('refuses memory that is not there before it writes anything', async () => {
    const { client, memoryFiles } = await start({ memory: 16 * mebibyte });
    await boot(client);
    const { code, params } = await failureOf(
      client.call('create', { spec: specOf({ uuid: 'b', memoryBytes: 9 * mebibyte }) }),
    );
    expect({ code, params }).to.deep.equal({
      code: 'HOST_NOT_ENOUGH_FREE_MEMORY',
      params: [String(9 * mebibyte), String(8 * mebibyte)],
    });
    expect(memoryFiles()).to.have.length(1);
  });
});

function run(...argv: string[]): { status: number | null; stderr: string } {
  return spawnSync(process.execPath, [hypervisorProgram, ...argv], { encoding: 'utf8' });
}
