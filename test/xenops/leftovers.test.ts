import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { helperMark, markVariable } from '../../src/base/process/helper-process.js';
import { createRpcClient } from '../../src/wire/connection/rpc-client.js';
import { endLeftovers } from '../../src/xenops/leftovers.js';
import { openSite } from '../daemon/daemon.js';
import { eventually, kill, makeDirectory } from '../hypervisor/hypervisor-process.js';
import { testDomain } from '../support/hosts.js';

describe('helpers that a daemon has left', function () {
  this.timeout(60_000);
  let directory: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'xenferry-leftovers-'));
  });
  afterEach(async () => {
    for (const child of children.splice(0)) await kill(child);
    rmSync(directory, { recursive: true });
  });
  const start = async (script: string, environment: Record<string, string>): Promise<ChildProcess> => {
    const child = spawn('/bin/sh', ['-c', `echo ready; ${script}`], {
      ...{ detached: true, stdio: ['ignore', 'pipe', 'ignore'], env: { ...process.env, ...environment } },
    });
    children.push(child);
    await once(child.stdout as NodeJS.EventEmitter, 'data');
    return child;
  };

  for (const [what, script] of [
    ['runs', 'exec sleep 60'],
    ['is stopped', 'kill -STOP $$'],
    ['does not listen to SIGTERM', "trap '' TERM; while :; do sleep 1; done"],
    ['has a child', 'sleep 60 & wait'],
  ] as const) {
    it(`are ended: one that ${what}`, async () => {
      const child = await start(script, helperMark(directory));
      const exit = once(child, 'exit');
      expect(await endLeftovers(helperMark(directory))).to.be.at.least(1);
      expect(await exit).to.deep.equal([null, 'SIGKILL']);
      expect(await endLeftovers(helperMark(directory))).to.equal(0);
    });
  }

  it('are told from those of another daemon, and from what is no helper', async () => {
    const other = makeDirectory();
    const theirs = await start('exec sleep 60', helperMark(other));
    const near = await start('exec sleep 60', { [markVariable]: `${helperMark(directory)[markVariable]}2` });
    const none = await start('exec sleep 60', {});
    expect(await endLeftovers(helperMark(directory))).to.equal(0);
    for (const { exitCode, signalCode } of [theirs, near, none])
      expect([exitCode, signalCode]).to.deep.equal([null, null]);
    rmSync(other, { recursive: true });
  });

  it('are found by whatever name the directory is called', async () => {
    await start('exec sleep 60', helperMark(directory));
    const link = path.join(directory, 'link');
    symlinkSync(directory, link);
    expect(await endLeftovers(helperMark(link))).to.equal(1);
  });

  it('end when a daemon starts whose earlier run was killed, a stopped one too; the hypervisor is none', async () => {
    const site = openSite();
    try {
      const pids = path.join(site.directory, 'pids');
      const script = path.join(site.directory, 'emu');
      writeFileSync(script, `#!/bin/sh\necho $$ >> ${pids}\nkill -STOP $$\n`, { mode: 0o755 });
      site.configure(`emu-manager = ${script}`);
      const first = await site.start();
      const secret = readFileSync(path.join(site.stateDir, 'pool-secret'), 'utf8').trim();
      const client = createRpcClient(`${first.url}/services/xenops`);
      const domain = testDomain();
      await client.json('start', [secret, domain, false]);
      client.json('suspend', [secret, domain.uuid]).catch(() => undefined);
      const stateOf = (pid: number) => /\) (\S) /.exec(read(`/proc/${pid}/stat`))?.[1];
      const pid = await eventually(() => {
        const helper = Number.parseInt(read(pids), 10);
        return stateOf(helper) === 'T' ? helper : undefined;
      });
      await first.end('SIGKILL');
      client.close();
      expect(stateOf(pid)).to.equal('T');
      const hypervisor = site.hypervisor() as number;
      const second = await site.start();
      await site.logged(/ended 1 helper processes that an earlier run of the daemon had left/);
      expect(stateOf(pid)).to.be.oneOf([undefined, 'Z']);
      expect(site.hypervisor()).to.equal(hypervisor);
      expect(read(`/proc/${hypervisor}/environ`)).not.to.contain(markVariable);
      const again = createRpcClient(`${second.url}/services/xenops`);
      const { domains } = await again.json<{ domains: { uuid: string; state: string }[] }>('state', [secret]);
      expect(domains.map(({ uuid, state }) => [uuid, state])).to.deep.equal([[domain.uuid, 'running']]);
      again.close();
      await second.end('SIGTERM');
    } finally {
      await site.close();
    }
  });
});

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
