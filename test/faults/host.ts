/** One real host that is broken on purpose: its daemon can be killed and started again, its configuration changed, its disk filled. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { open, type RootDatabase, type Transaction } from 'lmdb';
import { connectHypervisor, type HypervisorClient } from '../../src/backend/simulator/client.js';
import { socketPathOf } from '../../src/backend/simulator/program.js';
import { type LocalHost, startHost } from '../../src/cli/local-pool/local-host.js';
import { fillUp } from '../support/full-disk.js';
import type { BackendName } from './cases.js';
import { hostMark, lives, type ProcessKind, processesOf, signal, until } from './processes.js';

export interface FaultHostInit {
  readonly name: string;
  /** The directory in which it makes its own. */
  readonly parent: string;
  readonly port: number;
  readonly coordinator?: string;
  readonly secretFile: string;
  /** Give it a small disk of its own, which can be filled. Needs root. */
  readonly disk: boolean;
  readonly config?: Readonly<Record<string, string>>;
}

export interface FaultHost {
  readonly backend: BackendName;
  readonly name: string;
  readonly url: string;
  /** Its state directory. */
  readonly directory: string;
  /** Where the memory of its domains is. */
  readonly memory: string;
  daemon(): number;
  hypervisor(): number | undefined;
  /** Its living processes of a kind. */
  processes(kind: ProcessKind): number[];
  /** Kill the daemon at once; returns when it is gone. */
  kill(): Promise<void>;
  /** Whether its daemon runs. */
  runs(): boolean;
  /** Start the daemon again where it does not run. */
  restart(): Promise<void>;
  /** Change keys of the configuration, all others going back to what they were; returns when the daemon has read them. */
  configure(keys: Readonly<Record<string, string>>): Promise<void>;
  /** Ask its hypervisor, as a helper. */
  ask<T>(work: (hypervisor: HypervisorClient) => Promise<T>): Promise<T>;
  /**
   * Until the disk is given back its database cannot use the space again that rows have left: a reader holds on to it. Else a full
   * disk would not be noticed, as what is written fits into what was freed.
   */
  pinDatabase(): void;
  /** Leave no byte free on its disk, or give them back. */
  fillDisk(full: boolean): void;
  /** How long its log is. */
  logged(): number;
  /** What its log says from there on. */
  logSince(position: number): string;
  /** Everything that must not grow: the files of its state, and of its domains' memory. */
  files(): string[];
  stop(): Promise<void>;
}

const timeouts = {
  'migration-step-timeout': '2s',
  'migration-accept-timeout': '3s',
  'migration-progress-timeout': '2s',
  'backend-timeout': '2s',
  'peer-timeout': '2s',
  'fault-injection': 'true',
  'migration-digest': 'true',
  loglevel: 'debug',
  // A full disk is noticed at once.
  'database-reserve': '0',
};

/** Start a host. */
export async function startFaultHost(init: FaultHostInit): Promise<FaultHost> {
  const directory = path.join(init.parent, init.name);
  const memory = `${directory}-memory`;
  const log = `${directory}.log`;
  fs.mkdirSync(directory, { mode: 0o700 });
  fs.mkdirSync(memory, { mode: 0o700 });
  if (init.disk) execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=700', 'xenferry-faults', directory]);
  const start = () =>
    startHost(
      {
        name: init.name,
        directory,
        port: init.port,
        ...(init.coordinator === undefined ? {} : { coordinator: init.coordinator }),
        secretFile: init.secretFile,
        config: { ...timeouts, log, 'memory-dir': memory, ...init.config },
        environment: { [hostMark]: directory },
        warn: () => undefined,
      },
      AbortSignal.timeout(20_000),
    );
  const unmount = () => {
    if (init.disk) execFileSync('umount', ['-l', directory]);
  };
  let running: LocalHost;
  try {
    running = await start();
  } catch (error) {
    unmount();
    throw error;
  }
  // The transaction ends when nobody holds it.
  let pinned: { readonly database: RootDatabase; readonly transaction: Transaction } | undefined;
  const unpin = () => {
    pinned?.transaction.done();
    pinned?.database.close().catch(() => undefined);
    pinned = undefined;
  };
  let restarting: Promise<LocalHost> | undefined;
  const filler = path.join(directory, 'filler');
  const host: FaultHost = {
    backend: init.config?.backend === 'qemu' ? 'qemu' : 'simulator',
    ...{ name: init.name, url: running.url, directory, memory },
    daemon: () => running.pid,
    hypervisor() {
      const pid = Number.parseInt(read(path.join(directory, 'hypervisor.pid')), 10);
      return Number.isNaN(pid) ? undefined : pid;
    },
    processes: (kind) => processesOf(directory).flatMap((each) => (each.kind === kind ? [each.pid] : [])),
    async kill() {
      signal(running.pid, 'SIGKILL');
      await until('the end of a killed daemon', 5000, () => !lives(running.pid) || undefined);
    },
    runs: () => lives(running.pid),
    async restart() {
      if (restarting === undefined && lives(running.pid)) return;
      restarting ??= start().finally(() => {
        restarting = undefined;
      });
      running = await restarting;
    },
    async configure(keys) {
      const lines = Object.entries(keys).map(([key, value]) => `${key} = ${value}\n`);
      const from = size(log);
      fs.writeFileSync(path.join(directory, 'xenopsd.conf.d', 'fault.conf'), lines.join(''));
      signal(running.pid, 'SIGHUP');
      const said = () => /configuration (read again|refused)/.exec(since(log, from))?.[1];
      const how = await until(`${init.name}: the configuration is read again`, 5000, said);
      if (how === 'refused') throw new Error(`${init.name} refuses its configuration: ${lines.join('')}`);
    },
    async ask(work) {
      const client = await connectHypervisor(socketPathOf(directory), 'helper');
      try {
        return await work(client);
      } finally {
        await client.close();
      }
    },
    pinDatabase() {
      if (pinned !== undefined) return;
      const database = open({ path: path.join(directory, 'db'), noSubdir: false, readOnly: true });
      pinned = { database, transaction: database.useReadTransaction() };
    },
    fillDisk(full) {
      if (full) return fillUp(filler);
      fs.rmSync(filler, { force: true });
      unpin();
    },
    logged: () => size(log),
    logSince: (position) => since(log, position),
    files: () => [...names(directory), ...names(memory).map((name) => `memory/${name}`)].sort(),
    async stop() {
      fs.rmSync(filler, { force: true });
      await running.stop();
      unpin();
      for (const { pid } of processesOf(directory)) signal(pid, 'SIGKILL');
      unmount();
    },
  };
  return host;
}

function names(directory: string): string[] {
  return fs.readdirSync(directory, { recursive: true, encoding: 'utf8' });
}

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function size(file: string): number {
  return fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function since(file: string, position: number): string {
  return fs.existsSync(file) ? fs.readFileSync(file).subarray(position).toString() : '';
}
