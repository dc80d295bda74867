/** A pool of two real hosts with VMs, and a client of it that does not mind when its server is killed. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { messageOf, XapiError } from '../../src/base/errors.js';
import type { TaskRecord } from '../../src/cli/client/task.js';
import { vmRecord } from '../../src/cli/client/vm-record.js';
import { login, type XapiSession } from '../../src/cli/client/xapi-client.js';
import type { BackendName } from './cases.js';
import { type FaultHost, startFaultHost } from './host.js';
import { until } from './processes.js';
import { guestFields, qemuKeys } from './qemu.js';

const mebibyte = 2 ** 20;

export interface PairVm {
  readonly name: string;
  readonly uuid: string;
  readonly ref: string;
}

export interface PairHost extends FaultHost {
  readonly uuid: string;
  readonly ref: string;
}

/** How a migration ended, as its client sees it. */
export interface Ended {
  /** `forgotten`: its coordinator was killed when the task had ended already. */
  readonly status: TaskRecord['status'] | 'forgotten';
  readonly error: readonly string[];
  readonly told: Readonly<Record<string, string>>;
}

export interface Pair {
  readonly hosts: readonly [PairHost, PairHost];
  readonly vms: readonly PairVm[];
  /** A call of the XenAPI. While the server is away, or has forgotten the session, it is sent again, for some seconds. */
  call<T = unknown>(method: string, ...params: unknown[]): Promise<T>;
  /** The host where a VM's record says that it runs, and the other one. @throws where it runs nowhere */
  sides(vm: PairVm): Promise<{ source: PairHost; destination: PairHost }>;
  /** Begin to migrate a VM. @returns the task */
  migrate(vm: PairVm, to: PairHost, compress: boolean): Promise<string>;
  /** Wait for the end of a task, at most so long. */
  ended(task: string, timeoutMs: number): Promise<Ended>;
  stop(): Promise<void>;
}

export interface PairInit {
  /** The devices of each VM's virtual GPUs: a VM for each entry. */
  readonly vms: readonly (readonly string[])[];
  /** Pages that each guest writes a second. */
  readonly dirtyRate: number;
  /** Give each host a small disk of its own. Needs root. */
  readonly disks: boolean;
  readonly backend?: BackendName;
  readonly config?: Readonly<Record<string, string>>;
}

/** The memory of each VM. It is more than the buffers of connections hold, so that the other side is needed to copy it. */
export const vmBytes = 16 * mebibyte;

/** How long the server may be away. */
const awayMs = 20_000;

/** Start two hosts with running VMs, all on the first. @throws what did not start; nothing is left behind then */
export async function startPair(init: PairInit): Promise<Pair> {
  const parent = fs.mkdtempSync(path.join(tmpdir(), 'xf-faults-'));
  const started: FaultHost[] = [];
  const stop = async () => {
    await Promise.all(started.map((host) => host.stop()));
    fs.rmSync(parent, { recursive: true, force: true });
  };
  try {
    const secretFile = path.join(parent, 'secret');
    fs.writeFileSync(secretFile, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
    const [portOne, portTwo] = await freePorts();
    const config = { ...(init.backend === 'qemu' ? qemuKeys(vmBytes) : {}), ...init.config };
    const common = { parent, secretFile, disk: init.disks, config };
    const one = await startFaultHost({ ...common, name: 'one', port: portOne });
    started.push(one);
    const two = await startFaultHost({ ...common, name: 'two', port: portTwo, coordinator: one.url });
    started.push(two);
    return await pairOf(init, one, two, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function pairOf(init: PairInit, one: FaultHost, two: FaultHost, stop: () => Promise<void>): Promise<Pair> {
  const password = fs.readFileSync(path.join(one.directory, 'root-password'), 'utf8').trim();
  const client = createClient(one.url, password);
  const { call } = client;
  const hosts = await Promise.all([one, two].map((host) => joined(call, host)));
  const [first, second] = hosts as [PairHost, PairHost];
  const vms: PairVm[] = [];
  for (const [index, vgpus] of init.vms.entries()) vms.push(await createVm(call, first, index, vgpus, init.dirtyRate));
  return {
    ...{ hosts: [first, second], vms, call },
    async sides({ ref, name }) {
      const resident = await call<string>('VM.get_resident_on', ref);
      if (resident === first.ref) return { source: first, destination: second };
      if (resident === second.ref) return { source: second, destination: first };
      throw new Error(`${name} runs nowhere`);
    },
    migrate: (vm, to, compress) =>
      call('Async.VM.pool_migrate', vm.ref, to.ref, { live: 'true', compress: String(compress) }),
    ended: (task, timeoutMs) => taskEnd(call, task, timeoutMs),
    async stop() {
      await client.close();
      await stop();
    },
  };
}

type Call = Pair['call'];

export async function taskEnd(call: Call, task: string, timeoutMs: number): Promise<Ended> {
  return until(`the end of task ${task}`, timeoutMs, async () => {
    const record = await call<TaskRecord>('task.get_record', task).catch((error: unknown) => {
      if (error instanceof XapiError && error.code === 'HANDLE_INVALID') return 'forgotten';
      throw error;
    });
    if (record === 'forgotten') return { status: record, error: [], told: {} } as const;
    if (typeof record === 'string' || record.status === 'pending' || record.status === 'cancelling') return undefined;
    return { status: record.status, error: record.error_info, told: record.other_config };
  });
}

async function joined(call: Call, host: FaultHost): Promise<PairHost> {
  return until(`${host.name} joins the pool`, 20_000, async () => {
    const hosts = await call<Record<string, HostRecord>>('host.get_all_records');
    const found = Object.entries(hosts).find(([, { name_label }]) => name_label === host.name);
    if (found === undefined) return undefined;
    const [ref, { uuid, metrics }] = found;
    return (await call<boolean>('host_metrics.get_live', metrics)) ? { ...host, ref, uuid } : undefined;
  });
}

interface HostRecord {
  readonly uuid: string;
  readonly name_label: string;
  readonly metrics: string;
}

async function createVm(
  call: Call,
  host: PairHost,
  index: number,
  vgpus: readonly string[],
  dirtyRate: number,
): Promise<PairVm> {
  const name = `vm${index + 1}`;
  const otherConfig = {
    'simulator:dirty-pages-per-second': String(dirtyRate),
    'simulator:profile': 'random=90,text=10',
  };
  const guest = host.backend === 'qemu' ? guestFields : {};
  const ref = await call<string>('VM.create', { ...vmRecord({ name, memory: vmBytes, otherConfig }), ...guest });
  const none = 'OpaqueRef:NULL';
  for (const device of vgpus) await call('VGPU.create', ref, none, device, {}, none);
  await call('VM.start_on', ref, host.ref, false, false);
  return { name, ref, uuid: await call('VM.get_uuid', ref) };
}

/** Calls with a session that is opened again when the server, which has sessions in memory alone, was started anew. */
export function createClient(url: string, password: string): { call: Call; close(): Promise<void> } {
  let opening: Promise<XapiSession> | undefined;
  const open = () => {
    opening ??= login({ url, username: 'root', password }, 'xenferry-faults');
    return opening;
  };
  return {
    async call<T>(method: string, ...params: unknown[]) {
      for (const limit = Date.now() + awayMs; ; ) {
        try {
          return await (await open()).call<T>(method, ...params);
        } catch (error) {
          const answered = error instanceof XapiError && error.code !== 'SESSION_INVALID';
          if (answered || Date.now() > limit) throw error;
          const old = opening;
          opening = undefined;
          await old?.then((session) => session.logout()).catch(() => undefined);
          await delay(50);
        }
      }
    },
    async close() {
      await opening?.then((session) => session.logout()).catch(() => undefined);
    },
  };
}

export async function freePorts(): Promise<[number, number]> {
  const servers = await Promise.all([listen(), listen()]);
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports as [number, number];
}

function listen(): Promise<net.Server> {
  const server = net.createServer();
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

/** What went wrong with a call, in one line. */
export function inWords(error: unknown): string {
  return messageOf(error).replaceAll('\n', ' ');
}
