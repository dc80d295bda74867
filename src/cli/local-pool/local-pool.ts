/** Whole pools on this machine: a daemon a host, running VMs, and an orderly end of it all. */

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { untilAborted } from '../../base/deadline.js';
import { defined } from '../../base/defined.js';
import { messageOf, XapiError } from '../../base/errors.js';
import { type Credentials, login, type XapiSession } from '../client/xapi-client.js';
import { type LocalHost, type NetworkPlace, startHost } from './local-host.js';
import type { LocalRegistry } from './local-registry.js';
import { createVm } from './local-vm.js';

export interface LocalPoolOptions {
  /** Hosts of each pool. */
  readonly hosts: number;
  /** VMs of each pool, running, spread over its hosts. */
  readonly vms: number;
  /** Bytes of memory of each VM. */
  readonly memory: number;
  /** Number of pools; one unless given. */
  readonly pools?: number;
  /** The port of the first host; the others have the next ones. Any free ports unless given. */
  readonly port?: number;
  /** Each host on a loopback address of its own, and all on one port. */
  readonly loopbackPerHost?: boolean;
  /** Pages that each guest writes a second; what the daemon's simulator does by itself unless given. */
  readonly dirtyRate?: number;
  /**
   * An empty directory for the state of all hosts, which is left in place. One of our own, removed at the end, unless
   * given.
   */
  readonly state?: string;
  /** Registry in which the run is noted as long as it lasts; none unless given. */
  readonly registry?: LocalRegistry;
  /** Further keys for the xenopsd.conf of every host. */
  readonly config?: Readonly<Record<string, string>>;
  /** Further fields of the record of every VM. */
  readonly record?: Readonly<Record<string, unknown>>;
  /** Places of the hosts of each pool on the network; the loopback address unless given. */
  readonly places?: readonly NetworkPlace[];
  /** Told when a daemon ends by itself. */
  readonly warn?: (text: string) => void;
  /** Gives up. */
  readonly signal?: AbortSignal;
}

export interface Named {
  readonly name: string;
  readonly uuid: string;
}

export interface LocalPool {
  /** The coordinator's URL, and who may log in there. */
  readonly credentials: Credentials;
  readonly hosts: readonly (LocalHost & Named)[];
  readonly vms: readonly Named[];
}

export interface LocalPools {
  readonly pools: readonly LocalPool[];
  /** End every daemon and hypervisor, and remove what is ours. */
  stop(): Promise<void>;
}

const joinSeconds = 30;

/**
 * Start pools of hosts with running VMs.
 * @throws an Error that says what did not start; nothing is left behind then
 */
export async function startLocalPool(options: LocalPoolOptions): Promise<LocalPools> {
  const count = options.pools ?? 1;
  const state = await stateDirectory(options.state);
  const started: LocalHost[] = [];
  const signal = options.signal ?? new AbortController().signal;
  const temporary = options.state === undefined;
  const stop = async () => {
    await Promise.all(started.map((host) => host.stop()));
    if (temporary) await rm(state, { recursive: true, force: true });
    await options.registry?.forget(state);
  };
  const note = async (coordinators: string[]) => {
    await options.registry?.note({ directory: state, temporary, coordinators }).catch((error: unknown) => {
      options.warn?.(`this run cannot be listed: ${messageOf(error)}; XDG_STATE_HOME may name another folder`);
    });
  };
  try {
    await note([]);
    const sites = await sitesFor(options, count * options.hosts);
    const pools: LocalPool[] = [];
    for (let i = 0; i < count; i++) {
      const range = sites.slice(i * options.hosts, (i + 1) * options.hosts);
      pools.push(await startPool({ options, state, number: i + 1, sites: range, started, signal }));
    }
    await note(pools.map(({ credentials }) => credentials.url));
    return { pools, stop };
  } catch (error) {
    const said = error instanceof XapiError ? await complaintsOf(started) : [];
    await stop();
    throw said.length === 0 ? error : new Error([messageOf(error), ...said].join('\n'), { cause: error });
  }
}

/** How many warnings and errors of each daemon are shown where its pool has failed. */
const complaints = 5;

/** What daemons have warned of last: their logs go with them, and what failed was told to their coordinator alone. */
async function complaintsOf(hosts: readonly LocalHost[]): Promise<string[]> {
  const logs = hosts.map(async ({ name, directory }) => {
    const log = await readFile(join(directory, 'xenferryd.log'), 'utf8').catch(() => '');
    const lines = log.split('\n').filter((line) => /^\S+ (warn|error) /.test(line));
    return lines.slice(-complaints).map((line) => `${name}: ${line}`);
  });
  return (await Promise.all(logs)).flat();
}

async function stateDirectory(given: string | undefined): Promise<string> {
  if (given === undefined) return mkdtemp(join(tmpdir(), 'xenferry-'));
  await mkdir(given, { recursive: true, mode: 0o700 });
  if ((await readdir(given)).length > 0) throw new Error(`the state directory ${given} is not empty`);
  return resolve(given);
}

/** Address at which a host listens, unless it is elsewhere on the network. */
interface Site {
  readonly address: string;
  readonly port: number;
}

/** One for each host. Ports are free now; fixed ones, from the first on, where that is given. */
async function sitesFor({ port = 0, loopbackPerHost }: LocalPoolOptions, count: number): Promise<Site[]> {
  const sites = Array.from({ length: count }, (_, i) =>
    loopbackPerHost ? { address: ownLoopback(i), port } : { address: loopback, port: port === 0 ? 0 : port + i },
  );
  if (port !== 0) return sites;
  return loopbackPerHost
    ? onOnePort(sites)
    : (await reserved(sites)).map((free) => ({ address: loopback, port: free }));
}

const loopback = '127.0.0.1';

/** From 127.0.0.2 on: what else runs on this machine is often on the first. */
function ownLoopback(index: number): string {
  const number = index + 2;
  return `127.0.${number >> 8}.${number & 255}`;
}

/** Ports that are tried where one that was free at the first address is taken at another. */
const portAttempts = 50;

async function onOnePort(sites: readonly Site[]): Promise<Site[]> {
  for (let attempt = 1; ; attempt++) {
    const [port = 0] = await reserved(sites.slice(0, 1));
    const same = sites.map(({ address }) => ({ address, port }));
    try {
      await reserved(same);
      return same;
    } catch (error) {
      if (attempt === portAttempts) throw error;
    }
  }
}

/**
 * Listen everywhere for a moment.
 * @returns the ports, any that is free for 0
 * @throws where one is taken
 */
async function reserved(sites: readonly Site[]): Promise<number[]> {
  const servers = sites.map(({ address, port }) => createServer().listen(port, address));
  const listening = await Promise.allSettled(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo | null)?.port ?? 0);
  const open = servers.filter((server) => server.listening);
  await Promise.all(open.map((server) => once(server.close(), 'close')));
  for (const one of listening) if (one.status === 'rejected') throw one.reason;
  return ports;
}

interface PoolInit {
  readonly options: LocalPoolOptions;
  readonly state: string;
  /** From 1 on. */
  readonly number: number;
  readonly sites: readonly Site[];
  /** Every host that runs, for whoever ends them. */
  readonly started: LocalHost[];
  readonly signal: AbortSignal;
}

async function startPool(init: PoolInit): Promise<LocalPool> {
  const { options, state, number } = init;
  const secretFile = join(state, `pool${number}-secret`);
  await writeFile(secretFile, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
  const coordinator = await startOne(init, secretFile, 0);
  const rest = init.sites.slice(1).map((_, i) => startOne(init, secretFile, i + 1, coordinator.url));
  const members = await allOrFirstError(rest);
  const password = (await readFile(join(coordinator.directory, 'root-password'), 'utf8')).trim();
  const credentials = { url: coordinator.url, username: 'root', password };
  const session = await login(credentials, 'xenferry-pool');
  try {
    const uuids = await joined(session, [coordinator, ...members], init.signal);
    const hosts = [coordinator, ...members].map((host, i) => ({ ...host, uuid: uuids[i] as string }));
    const names = Array.from({ length: options.vms }, (_, i) => `${prefixOf(init)}vm${i + 1}`);
    const on = await Promise.all(uuids.map((uuid) => session.call<string>('host.get_by_uuid', uuid)));
    const make = names.map((name, i) => createVm(session, { ...options, name, host: on[i % on.length] as string }));
    return { credentials, hosts, vms: await untilAborted(allOrFirstError(make), init.signal) };
  } finally {
    await session.logout();
  }
}

async function startOne(init: PoolInit, secretFile: string, index: number, coordinator?: string): Promise<LocalHost> {
  const { options, state, number, sites, started, signal } = init;
  const { address, port } = sites[index] as Site;
  const place = options.places?.[index] ?? { address, enter: [] };
  const host = await startHost(
    {
      name: `${prefixOf(init)}host${index + 1}`,
      directory: join(state, `pool${number}-host${index + 1}`),
      port,
      secretFile,
      config: options.config ?? {},
      warn: options.warn ?? (() => undefined),
      ...defined({ coordinator }),
      place,
    },
    signal,
  );
  started.push(host);
  return host;
}

/** Names tell pools apart only where there is more than one. */
function prefixOf({ options, number }: PoolInit): string {
  return (options.pools ?? 1) > 1 ? `pool${number}-` : '';
}

/** Wait for all, as Promise.all, and after a failure too, so that nothing starts after that was reported. */
async function allOrFirstError<T>(work: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

interface HostRecord {
  readonly uuid: string;
  readonly name_label: string;
  readonly metrics: string;
}

/**
 * Wait until the coordinator knows every host and that it is live.
 * @returns their uuids, in the given order
 */
async function joined(session: XapiSession, hosts: readonly LocalHost[], signal: AbortSignal): Promise<string[]> {
  const limit = performance.now() + joinSeconds * 1000;
  for (;;) {
    signal.throwIfAborted();
    const records = Object.values(await session.call<Record<string, HostRecord>>('host.get_all_records'));
    const metrics = await session.call<Record<string, { live: boolean }>>('host_metrics.get_all_records');
    const live = records.filter((record) => metrics[record.metrics]?.live);
    const uuids = hosts.map(({ name }) => live.find(({ name_label }) => name_label === name)?.uuid);
    const missing = hosts.filter((_, i) => uuids[i] === undefined).map(({ name }) => name);
    if (missing.length === 0) return uuids as string[];
    if (performance.now() > limit)
      throw new Error(`${missing.join(', ')} did not join the pool within ${joinSeconds} s`);
    await delay(50);
  }
}
