import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { type LocalPool, startLocalPool } from '../../src/cli/local-pool/local-pool.js';

type Host = LocalPool['hosts'][number];

/**
 * Bytes that daemons have read and written by system calls, whatever the descriptor (proc(5), `io`). Thread by thread,
 * as what a process is said to have done includes what the children did that it has waited for.
 */
async function bytesThrough(hosts: readonly Host[]): Promise<number> {
  let sum = 0;
  for (const { pid } of hosts) {
    for (const thread of await readdir(`/proc/${pid}/task`)) {
      const io = await readFile(`/proc/${pid}/task/${thread}/io`, 'utf8');
      for (const [, bytes] of io.matchAll(/^[rw]char: (\d+)$/gm)) sum += Number(bytes);
    }
  }
  return sum;
}

async function setCompressor(host: Host, compressor: string): Promise<void> {
  await writeFile(join(host.directory, 'xenopsd.conf.d', 'compressor.conf'), `migration-compressor = ${compressor}\n`);
  process.kill(host.pid, 'SIGHUP');
  while (!(await readFile(join(host.directory, 'xenferryd.log'), 'utf8')).includes('configuration read again')) {
    await delay(20);
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
    await migrateTo(pool.hosts[1], false);
    await migrateTo(pool.hosts[0], false);
  });
  after(async () => {
    await session?.logout();
    await stop?.();
  });

  for (const [index, compressor] of ['none', 'stream', 'xenguest'].entries()) {
    it(`${compressor}: what the daemons read and write is less than a hundredth of it`, async () => {
      if (compressor === 'xenguest') for (const host of pool.hosts) await setCompressor(host, compressor);
      const before = await bytesThrough(pool.hosts);
      await migrateTo(pool.hosts[(index + 1) % 2], compressor !== 'none');
      expect((await bytesThrough(pool.hosts)) - before).to.be.lessThan(2 ** 30 / 100);
    });
  }
});
