/**
 * QEMU's own migration of the same bytes: two processes without a running guest, whose memory is a file on a tmpfs, as that of
 * the simulated guests is; two channels (multifd), uncompressed or with zstd at level 1.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { connectQmp, type Qmp } from '../../src/backend/qemu/qmp.js';
import { untilAborted } from '../../src/base/deadline.js';
import type { NetworkPlace } from '../../src/cli/local-pool/local-host.js';
import { cpuSeconds, readProcesses, treesOf } from './process-cpu.js';
import type { Sample } from './report.js';

const program = 'qemu-system-x86_64';
/** How long QEMU may take to listen, in milliseconds. */
const connectMs = 15_000;

export const qemuCases = ['qemu-none', 'qemu-zstd'] as const;
export type QemuCase = (typeof qemuCases)[number];

export interface QemuInit {
  /** File with the contents of the guest. */
  readonly image: string;
  /** File in which the memory arrives, which is made anew. */
  readonly copy: string;
  /** Bytes of both. */
  readonly memory: number;
  /** Directory for sockets. */
  readonly directory: string;
  readonly places: readonly [NetworkPlace, NetworkPlace];
  readonly signal: AbortSignal;
}

/**
 * @returns the version of QEMU
 * @throws an Error where there is none
 */
export async function findQemu(signal: AbortSignal): Promise<string> {
  const child = spawn(program, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'], signal });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const ended = once(child, 'close').then(() => /version (\S+)/.exec(said)?.[1]);
  const version = await ended.catch(() => undefined);
  if (version === undefined) throw new Error(`--qemu needs the program ${program}, which is not installed here`);
  return version;
}

/** Migrate once, between two processes that are started for it. */
export async function runQemu(which: QemuCase, init: QemuInit): Promise<Sample> {
  const { image, copy, places, signal } = init;
  // QEMU fills the holes of a file that it reads.
  const own = join(init.directory, 'qemu-image');
  await copyFile(image, own);
  const machines: Machine[] = [];
  try {
    const source = await startMachine('source', own, places[0], init);
    machines.push(source);
    const destination = await startMachine('destination', copy, places[1], init);
    machines.push(destination);
    for (const { qmp } of machines) await set(qmp, which);
    const to = await listen(destination.qmp, places[1].address);
    return await untilAborted(migrate(which, source, destination, to), signal);
  } finally {
    for (const machine of machines) await machine.stop();
    await rm(own, { force: true });
  }
}

interface Machine {
  readonly qmp: Qmp;
  readonly pid: number;
  stop(): Promise<void>;
}

async function startMachine(role: string, file: string, place: NetworkPlace, init: QemuInit): Promise<Machine> {
  const socket = join(init.directory, `${role}.qmp`);
  const command = [
    ...place.enter,
    ...[program, '-nodefaults', '-display', 'none', '-accel', 'tcg', '-S'],
    ...['-m', `${init.memory / 2 ** 20}M`, '-machine', 'pc,memory-backend=ram'],
    ...['-object', `memory-backend-file,id=ram,size=${init.memory},mem-path=${file},share=on`],
    ...['-qmp', `unix:${socket},server=on,wait=off`],
    ...(role === 'destination' ? ['-incoming', 'defer'] : []),
  ];
  const child = spawn(command[0] as string, command.slice(1), { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-4096);
  });
  const ended = new Promise<never>((_, reject) => {
    child.once('error', reject);
    child.once('exit', (status, by) => reject(new Error(`${program} ended with ${by ?? `status ${status}`}: ${said}`)));
  });
  ended.catch(() => undefined);
  const stop = async () => {
    child.kill('SIGKILL');
    await ended.catch(() => undefined);
    await rm(socket, { force: true });
  };
  try {
    const qmp = await Promise.race([connectQmp(socket, connectMs, init.signal), ended]);
    return { qmp, pid: child.pid as number, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A limit that none reaches, in bytes a second: by itself QEMU sends 128 MiB/s at most. */
const bandwidth = 2 ** 40;

async function set(qmp: Qmp, which: QemuCase): Promise<void> {
  const capabilities = ['multifd', 'events'].map((capability) => ({ capability, state: true }));
  await qmp.execute('migrate-set-capabilities', { capabilities });
  await qmp.execute('migrate-set-parameters', {
    'multifd-channels': 2,
    'multifd-compression': which === 'qemu-zstd' ? 'zstd' : 'none',
    'multifd-zstd-level': 1,
    'max-bandwidth': bandwidth,
  });
}

/** @returns where the source is to connect */
async function listen(qmp: Qmp, address: string): Promise<string> {
  await qmp.execute('migrate-incoming', { uri: `tcp:${address}:0` });
  const { 'socket-address': listening = [] } = await qmp.execute<MigrateInfo>('query-migrate');
  return `tcp:${address}:${listening[0]?.port}`;
}

interface MigrateInfo {
  readonly 'socket-address'?: readonly { readonly port: string }[];
  readonly 'total-time'?: number;
  readonly downtime?: number;
  readonly ram?: { readonly transferred: number };
}

async function migrate(which: QemuCase, source: Machine, destination: Machine, uri: string): Promise<Sample> {
  const machines = [source, destination];
  const cpu = () =>
    cpuSeconds(
      treesOf(
        readProcesses(),
        machines.map(({ pid }) => pid),
        [],
      ),
    );
  const over = machines.map(({ qmp }) =>
    qmp.event(({ event, data }) => event === 'MIGRATION' && ['completed', 'failed'].includes(String(data.status))),
  );
  const cpuBefore = cpu();
  const began = performance.now();
  await source.qmp.execute('migrate', { uri });
  await Promise.all(over);
  const seconds = (performance.now() - began) / 1000;
  const cpuAfter = cpu();
  const info = await source.qmp.execute<MigrateInfo>('query-migrate');
  const { ram, downtime, 'total-time': milliseconds } = info;
  if (ram === undefined || downtime === undefined || milliseconds === undefined) {
    throw new Error(`QEMU's migration failed: ${JSON.stringify(info)}`);
  }
  return {
    seconds,
    cpuSeconds: cpuAfter - cpuBefore,
    downtimeMs: downtime,
    taskSeconds: milliseconds / 1000,
    // QEMU 7.2 counts pages before it compresses them.
    ...(which === 'qemu-none' ? { wireBytes: ram.transferred } : {}),
  };
}
