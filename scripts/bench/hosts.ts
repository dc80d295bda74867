/** The two daemons of the benchmark, their VMs, and one migration as a client sees it, with what it cost. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connectHypervisor, type HypervisorClient } from '../../src/backend/simulator/client.js';
import { socketPathOf } from '../../src/backend/simulator/program.js';
import { isConfigKey } from '../../src/base/config/keys.js';
import { untilAborted } from '../../src/base/deadline.js';
import { defined } from '../../src/base/defined.js';
import type { DomainHandle } from '../../src/base/domain.js';
import { type TaskRecord, taskError } from '../../src/cli/client/task.js';
import { vmRecord } from '../../src/cli/client/vm-record.js';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import type { LocalHost, NetworkPlace } from '../../src/cli/local-pool/local-host.js';
import { type LocalPool, startLocalPool } from '../../src/cli/local-pool/local-pool.js';
import { measure, type Used } from './measure.js';

export interface HostsInit {
  /** Bytes of memory of each VM. */
  readonly memory: number;
  readonly vms: number;
  /** A directory on a tmpfs for the guests' memory. */
  readonly memoryDir: string;
  /** Further keys of xenopsd.conf. */
  readonly config?: Readonly<Record<string, string>>;
  /** Places of the two hosts; on the loopback address unless given. */
  readonly places?: readonly NetworkPlace[];
  readonly signal: AbortSignal;
}

/** Contents of guests: the shares of the project's figures, in extents of 64 KiB. */
const profile = 'zero=35,program=33,text=22,random=10';
/** A guest's content follows from profile and seed: the same bytes in every run. */
const firstSeed = 20261;

interface BenchVm {
  readonly name: string;
  readonly uuid: string;
  readonly ref: string;
  /** The index of the host that it is on. */
  at: number;
}

/** Figures of a migration in its task; keys as in the task's other_config. */
export type Told = Readonly<Record<string, string>>;

export interface BenchHosts {
  readonly vms: readonly BenchVm[];
  /**
   * Set keys of both hosts as an operator does, by a fragment of their configuration and SIGHUP.
   * @throws an Error when a daemon does not say in time that it has read them
   */
  configure(settings: Readonly<Record<string, string>>): Promise<void>;
  /**
   * Migrate VMs to the other host, all at once.
   * @throws an Error when one fails, or did not use the compressor that is configured
   */
  migrate(vms: readonly BenchVm[], compress: boolean): Promise<Used<Told[]>>;
  /** The file with the VM's memory. */
  memoryFile(vm: BenchVm): Promise<string>;
  /**
   * Look at every page of a VM.
   * @throws an Error when one does not hold what the guest has in it
   */
  verify(vm: BenchVm): Promise<void>;
  stop(): Promise<void>;
}

/** Start two hosts with running VMs, whose guests are idle; all VMs are on the first host. */
export async function openHosts(init: HostsInit): Promise<BenchHosts> {
  const { pools, stop } = await startLocalPool({
    hosts: 2,
    vms: 0,
    memory: init.memory,
    signal: init.signal,
    config: {
      'memory-dir': init.memoryDir,
      'simulator-memory': `${init.vms * (init.memory / 2 ** 20)}MiB`,
      ...init.config,
    },
    ...defined({ places: init.places }),
  });
  try {
    const pool = pools[0] as LocalPool;
    const session = await login(pool.credentials, 'xenferry-bench');
    const hosts = await Promise.all(
      pool.hosts.map(async (host) => ({ ...host, ref: await session.call<string>('host.get_by_uuid', host.uuid) })),
    );
    const vms = await untilAborted(makeVms(session, init, (hosts[0] as Host).ref), init.signal);
    return {
      vms,
      configure: async (settings) => {
        for (const host of hosts) await configure(host, settings);
      },
      migrate: (which, compress) => migrateAll({ session, hosts, signal: init.signal }, which, compress),
      memoryFile: (vm) =>
        onHypervisor(hosts[vm.at] as Host, vm, async (hypervisor, handle) => {
          const { result } = await hypervisor.call('memory_of', { handle });
          return result.path;
        }),
      verify: (vm) => verify(hosts[vm.at] as Host, vm),
      async stop() {
        await session.logout();
        await stop();
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

type Host = LocalHost & { readonly ref: string };

async function makeVms(session: XapiSession, { vms, memory }: HostsInit, host: string): Promise<BenchVm[]> {
  const made: BenchVm[] = [];
  for (let i = 0; i < vms; i++) {
    const name = `bench${i + 1}`;
    const otherConfig = {
      'simulator:profile': profile,
      'simulator:seed': String(firstSeed + i),
      'simulator:dirty-pages-per-second': '0',
    };
    const ref = await session.call<string>('VM.create', vmRecord({ name, memory, otherConfig }));
    await session.call('VM.start_on', ref, host, false, false);
    made.push({ name, ref, uuid: await session.call<string>('VM.get_uuid', ref), at: 0 });
  }
  return made;
}

/** Time in which a daemon reads its configuration again, in milliseconds. */
const reloadMs = 10_000;

async function configure(host: Host, settings: Readonly<Record<string, string>>): Promise<void> {
  // To the daemon it would be a warning.
  for (const key of Object.keys(settings)) if (!isConfigKey(key)) throw new Error(`there is no key ${key}`);
  const text = Object.entries(settings).map(([key, value]) => `${key} = ${value}\n`);
  const log = join(host.directory, 'xenferryd.log');
  const before = (await readFile(log, 'utf8')).length;
  await writeFile(join(host.directory, 'xenopsd.conf.d', 'bench.conf'), text.join(''));
  process.kill(host.pid, 'SIGHUP');
  const limit = Date.now() + reloadMs;
  for (;;) {
    const said = (await readFile(log, 'utf8')).slice(before);
    if (said.includes('configuration read again')) return;
    if (Date.now() > limit) throw new Error(`${host.name} does not say that it took ${text.join(', ')}: ${said}`);
    await delay(10);
  }
}

interface Pair {
  readonly session: XapiSession;
  readonly hosts: readonly Host[];
  readonly signal: AbortSignal;
}

async function migrateAll(pair: Pair, vms: readonly BenchVm[], compress: boolean): Promise<Used<Told[]>> {
  const daemons = pair.hosts.map(({ pid }) => pid);
  const hypervisors = await Promise.all(pair.hosts.map(hypervisorPid));
  const ready = await Promise.all(vms.map((vm) => prepare(pair, vm, compress)));
  return measure({ daemons, leftOut: hypervisors }, () => Promise.all(ready.map((start) => start())));
}

async function hypervisorPid({ directory }: Host): Promise<number> {
  return Number.parseInt(await readFile(join(directory, 'hypervisor.pid'), 'utf8'), 10);
}

interface VmEvents {
  readonly token: string;
  readonly events: readonly { readonly snapshot?: { readonly resident_on: string } }[];
}

/** Pause between looks at a task that is about to end, in milliseconds. */
const lookMs = 2;

/**
 * @returns what starts the migration and waits for its end. It waits for events of the VM, which has few of them: one
 *   that asked for the task again and again would cost the daemon more than the migration does
 */
async function prepare(pair: Pair, vm: BenchVm, compress: boolean): Promise<() => Promise<Told>> {
  const { session, hosts, signal } = pair;
  const to = 1 - vm.at;
  const { ref } = hosts[to] as Host;
  const wanted = [`vm/${vm.ref}`];
  const first = await session.call<VmEvents>('event.from', wanted, '', 0);
  return async () => {
    const options = { live: 'true', compress: String(compress) };
    const task = await session.call<string>('Async.VM.pool_migrate', vm.ref, ref, options);
    let { token } = first;
    let record: TaskRecord;
    let arrived = false;
    do {
      if (arrived) await delay(lookMs, undefined, { signal });
      else {
        const batch = await untilAborted(session.call<VmEvents>('event.from', wanted, token, 10), signal);
        token = batch.token;
        arrived = batch.events.some(({ snapshot }) => snapshot?.resident_on === ref);
      }
      record = await session.call<TaskRecord>('task.get_record', task);
    } while (record.status === 'pending' || record.status === 'cancelling');
    const error = taskError(task, record);
    if (error !== undefined) throw error;
    vm.at = to;
    return record.other_config;
  };
}

function onHypervisor<T>(
  host: Host,
  { uuid }: BenchVm,
  work: (hypervisor: HypervisorClient, handle: DomainHandle) => Promise<T>,
): Promise<T> {
  return connectHypervisor(socketPathOf(host.directory), 'helper').then(async (hypervisor) => {
    try {
      const { result } = await hypervisor.call('list', {});
      const domain = result.find((one) => one.uuid === uuid);
      if (domain === undefined) throw new Error(`VM ${uuid} is not on ${host.name}`);
      return await work(hypervisor, domain.handle);
    } finally {
      await hypervisor.close();
    }
  });
}

async function verify(host: Host, vm: BenchVm): Promise<void> {
  const { badPages, pages } = await onHypervisor(host, vm, async (hypervisor, handle) => {
    const { result } = await hypervisor.call('verify', { handle });
    return result;
  });
  if (badPages > 0) throw new Error(`${badPages} of ${pages} pages of ${vm.name} are not what its guest wrote`);
}
