import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import { type LocalPool, startLocalPool } from '../src/cli/local-pool.js';
import { login, type XapiSession } from '../src/cli/xapi-client.js';

type Host = LocalPool['hosts'][number];

/** CPU time of processes by themselves, and of the children that they have waited for, in clock ticks (proc(5)). */
async function cpuOf(hosts: readonly Host[]): Promise<{ own: number; children: number }> {
  const sum = { own: 0, children: 0 };
  for (const { pid } of hosts) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [utime = 0, stime = 0, cutime = 0, cstime = 0] = fields.slice(11, 15).map(Number);
    sum.own += utime + stime;
    sum.children += cutime + cstime;
  }
  return sum;
}

async function setCompressor(host: Host, compressor: string): Promise<void> {
  await writeFile(join(host.directory, 'xenopsd.conf.d', 'compressor.conf'), `migration-compressor = ${compressor}\n`);
  process.kill(host.pid, 'SIGHUP');
  while (!(await readFile(join(host.directory, 'xenferryd.log'), 'utf8')).includes('configuration read again')) {
    await setTimeout(20);
  }
}

describe('A VM of 1 GiB migrates and its memory does not pass through the daemons', function () {
  this.timeout(180_000);
  let pool: LocalPool;
  let stop: () => Promise<void>;
  let session: XapiSession;
  let vm: string;

  const migrateTo = async (host: Host | undefined, compress: boolean) => {
    const to = await session.call<string>('host.get_by_uuid', host?.uuid);
    await session.call('VM.pool_migrate', vm, to, { compress: String(compress) });
    expect(await session.call('VM.get_power_state', vm)).to.equal('Running');
    expect(await session.call('VM.get_resident_on', vm)).to.equal(to);
  };

  before(async () => {
    const options = { hosts: 2, vms: 1, memory: 2 ** 30, dirtyRate: 500 };
    const started = await startLocalPool({ ...options, signal: new AbortController().signal });
    stop = started.stop;
    pool = started.pools[0] as LocalPool;
    session = await login(pool.credentials, 'test');
    vm = await session.call<string>('VM.get_by_uuid', pool.vms[0]?.uuid);
    // The first migrations of a daemon's life spend its time on compiling its code.
    for (const to of [1, 0, 1, 0]) await migrateTo(pool.hosts[to], false);
  });
  after(async () => {
    await session?.logout();
    await stop?.();
  });

  for (const [index, compressor] of ['none', 'stream', 'xenguest'].entries()) {
    it(`${compressor}: the daemons use less than a tenth of the CPU time of their children`, async () => {
      if (compressor === 'xenguest') for (const host of pool.hosts) await setCompressor(host, compressor);
      const before = await cpuOf(pool.hosts);
      await migrateTo(pool.hosts[(index + 1) % 2], compressor !== 'none');
      const after = await cpuOf(pool.hosts);
      expect(after.own - before.own).to.be.lessThan((after.children - before.children) / 10);
    });
  }
});
