/**
 * Two pools for all tests of xe: `here` with two hosts, a VM on each and fault rules allowed, `there` with one of both.
 * They start when a test first asks for them, and end after the last test of the run.
 */
import { type LocalPool, type LocalPools, startLocalPool } from '../../../src/cli/local-pool/local-pool.js';
import { type Run, xeAt } from './harness.js';

export interface SharedPools {
  readonly here: LocalPool;
  readonly there: LocalPool;
}

const memory = 16 * 2 ** 20;
const started: Promise<LocalPools>[] = [];

export async function sharedPools(): Promise<SharedPools> {
  if (started.length === 0) {
    const config = { 'fault-injection': 'true' };
    started.push(startLocalPool({ hosts: 2, vms: 2, memory, config }), startLocalPool({ hosts: 1, vms: 1, memory }));
  }
  const [here, there] = await Promise.all(started);
  return { here: here?.pools[0] as LocalPool, there: there?.pools[0] as LocalPool };
}

after(async function () {
  this.timeout(30_000);
  const running = await Promise.allSettled(started);
  await Promise.all(running.map((pools) => (pools.status === 'fulfilled' ? pools.value.stop() : undefined)));
});

/** Run xe against a pool. */
export function xeIn({ credentials }: LocalPool, ...args: string[]): Promise<Run> {
  const { url, username, password } = credentials;
  return xeAt({ url }, args, { XE_USER: username, XE_PASSWORD: password });
}
