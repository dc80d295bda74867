/** Two pools of real hosts, the first with two and the second with one, and what a client and each hypervisor see of a VM. */
import { connectHypervisor, type HypervisorClient } from '../../src/backend/simulator/client.js';
import { socketPathOf } from '../../src/backend/simulator/program.js';
import type { GuestEnd } from '../../src/base/domain.js';
import type { SimulatedDomain } from '../../src/base/protocol/hypervisor-protocol.js';
import { type TaskRecord, taskEnd } from '../../src/cli/client/task.js';
import { vmRecord } from '../../src/cli/client/vm-record.js';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import { startLocalPool } from '../../src/cli/local-pool/local-pool.js';

const mebibyte = 2 ** 20;

export interface RealHost {
  readonly name: string;
  readonly ref: string;
  readonly directory: string;
  domains(): Promise<SimulatedDomain[]>;
  endGuest(uuid: string, how: GuestEnd): Promise<void>;
  /** Of a running domain: pages that are not what they must be. */
  badPages(uuid: string): Promise<number>;
  /** Let a migration of the VM stall at a step of a side. @returns resolves when it does */
  stall(side: 'source' | 'destination', step: string, uuid: string): Promise<() => Promise<void>>;
  clearFaults(): Promise<void>;
}

export interface RealPool {
  readonly hosts: readonly RealHost[];
  call<T = unknown>(method: string, ...params: unknown[]): Promise<T>;
  /** The code and parameters with which a call fails; empty where it does not. */
  failure(method: string, ...params: unknown[]): Promise<string[]>;
  taskEnd(task: string): Promise<TaskRecord>;
  /** A VM of 8 MiB with one interface, halted. */
  createVm(otherConfig?: Record<string, string>): Promise<{ ref: string; uuid: string; vif: string }>;
  /** What host.migrate_receive gives. */
  destination(host: RealHost): Promise<Record<string, string>>;
  network(): Promise<string>;
}

export interface RealPools {
  readonly here: RealPool;
  readonly there: RealPool;
  stop(): Promise<void>;
}

/** Start both; the caller stops them. */
export async function startRealPools(): Promise<RealPools> {
  const endings: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of endings.toReversed()) await end();
  };
  try {
    return { here: await startPool(2, endings), there: await startPool(1, endings), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startPool(count: number, endings: (() => Promise<unknown>)[]): Promise<RealPool> {
  const config = { 'fault-injection': 'true', 'migration-step-timeout': '20s' };
  const { pools, stop } = await startLocalPool({ hosts: count, vms: 0, memory: mebibyte, config });
  endings.push(stop);
  const [pool] = pools;
  if (pool === undefined) throw new Error('no pool has started');
  const session = await login(pool.credentials, 'test');
  endings.push(() => session.logout());
  const call = <T>(method: string, ...params: unknown[]) => session.call<T>(method, ...params);
  const hosts: RealHost[] = [];
  for (const { name, uuid, config: file } of pool.hosts) {
    const directory = file.replace(/\/[^/]*$/, '');
    const hypervisor = await connectHypervisor(socketPathOf(directory), 'helper');
    endings.push(() => hypervisor.close());
    hosts.push(hostOf(session, hypervisor, { name, ref: await call<string>('host.get_by_uuid', uuid), directory }));
  }
  const network = async () => ((await call<string[]>('network.get_all'))[0] ?? '') as string;
  return {
    hosts,
    call,
    network,
    failure: (method, ...params) =>
      call(method, ...params).then(
        () => [],
        (error: { code: string; params: string[] }) => [error.code, ...error.params],
      ),
    taskEnd: (task) => taskEnd(session, task),
    async createVm(otherConfig = {}) {
      const record = vmRecord({ name: 'vm', memory: 8 * mebibyte, otherConfig });
      const ref = await call<string>('VM.create', record);
      const vif = await call<string>('VIF.create', {
        ...{ device: '0', network: await network(), VM: ref, MAC: '', MTU: 1500 },
        ...{ other_config: {}, qos_algorithm_type: '', qos_algorithm_params: {} },
      });
      return { ref, uuid: await call<string>('VM.get_uuid', ref), vif };
    },
    async destination(host) {
      return call('host.migrate_receive', host.ref, await network(), {});
    },
  };
}

function hostOf(
  session: XapiSession,
  hypervisor: HypervisorClient,
  named: Pick<RealHost, 'name' | 'ref' | 'directory'>,
): RealHost {
  const plugin = (fn: string, args: Record<string, string>) =>
    session.call<string>('host.call_plugin', named.ref, 'fault', fn, args);
  const domains = async () => (await hypervisor.call('list', {})).result;
  const handleOf = async (uuid: string) => {
    const domain = (await domains()).find((each) => each.uuid === uuid);
    if (domain === undefined) throw new Error(`${named.name} has no domain ${uuid}`);
    return domain.handle;
  };
  return {
    ...named,
    domains,
    async endGuest(uuid, how) {
      await hypervisor.call('end_guest', { handle: await handleOf(uuid), how });
    },
    async badPages(uuid) {
      return (await hypervisor.call('verify', { handle: await handleOf(uuid) })).result.badPages;
    },
    async stall(side, step, uuid) {
      const id = JSON.parse(await plugin('add', { side, step, vm: uuid, action: 'stall' })) as number;
      return async () => {
        for (;;) {
          const rules = JSON.parse(await plugin('list', {})) as { id: number; fired: number }[];
          if (rules.some((rule) => rule.id === id && rule.fired > 0)) return;
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
      };
    },
    clearFaults: async () => void (await plugin('clear', {})),
  };
}
