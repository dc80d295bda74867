/** One migration of the demonstration, and what it did. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connectHypervisor } from '../../src/backend/simulator/client.js';
import { socketPathOf } from '../../src/backend/simulator/program.js';
import type { SimulatedDomain } from '../../src/base/protocol/hypervisor-protocol.js';
import { openProgress, screenOf } from '../../src/cli/client/progress.js';
import { type TaskRecord, taskEnd } from '../../src/cli/client/task.js';
import type { XapiSession } from '../../src/cli/client/xapi-client.js';
import type { LocalHost } from '../../src/cli/local-pool/local-host.js';
import type { Named } from '../../src/cli/local-pool/local-pool.js';

export const compressors = ['none', 'stream', 'xenguest'] as const;
type Compressor = (typeof compressors)[number];
type Host = LocalHost & Named;

export interface MigrationInit {
  readonly session: XapiSession;
  /** The VM's uuid. */
  readonly vm: string;
  readonly source: Host;
  readonly destination: Host;
  readonly compressor: Compressor;
}

/** Figures that are printed of a migration; sizes in bytes. A figure that the task does not give is NaN. */
export interface Measured {
  readonly compressor: Compressor;
  readonly from: string;
  readonly to: string;
  readonly status: TaskRecord['status'];
  /** Of a failure. */
  readonly error?: string;
  readonly seconds: number;
  readonly guest_bytes: number;
  readonly wire_bytes: number;
  readonly ratio: number;
  readonly rounds: number;
  readonly downtime_ms: number;
  /** The digests of both sides are the same, and every page is what the guest wrote. */
  readonly memory_intact: boolean;
  /** The VM runs at the destination, and its guest counts on from where it was. */
  readonly guest_running: boolean;
  readonly emu_flags: readonly string[];
  readonly cookies: Readonly<Record<string, string>>;
}

/** Time in which the guest shows that it counts on, in seconds. */
const countingSeconds = 10;

/** Migrate the VM, and look at it on both sides. */
export async function migrate({ session, vm, source, destination, compressor }: MigrationInit): Promise<Measured> {
  if (compressor !== 'none') await choose(source, compressor);
  const ref = await session.call<string>('VM.get_by_uuid', vm);
  const host = await session.call<string>('host.get_by_uuid', destination.uuid);
  const before = await look(source, vm);
  const options = { live: 'true', compress: String(compressor !== 'none') };
  const task = await session.call<string>('Async.VM.pool_migrate', ref, host, options);
  const progress = openProgress(`${compressor} ${source.name} -> ${destination.name}`, screenOf(process));
  const record = await taskEnd(session, task, (now) => progress.update(now.progress)).finally(progress.stop);
  await session.call('task.destroy', task);
  const { power_state, resident_on } = await session.call<{ power_state: string; resident_on: string }>(
    'VM.get_record',
    ref,
  );
  const after = await look(destination, vm);
  return {
    compressor,
    from: source.name,
    to: destination.name,
    ...reportOf(record),
    memory_intact: record.other_config.memory_intact === 'true' && after.intact,
    guest_running: power_state === 'Running' && resident_on === host && after.counts && after.ticks > before.ticks,
  };
}

type Report = Omit<Measured, 'compressor' | 'from' | 'to' | 'memory_intact' | 'guest_running'>;

function reportOf({ status, error_info, other_config: told }: TaskRecord): Report {
  return {
    status,
    ...(status === 'success' ? {} : { error: error_info.join(' ') }),
    seconds: Number(told.seconds),
    guest_bytes: Number(told.guest_bytes),
    wire_bytes: Number(told.wire_bytes),
    ratio: Number(told.ratio),
    rounds: Number(told.rounds),
    downtime_ms: Number(told.downtime_ms),
    emu_flags: JSON.parse(told.emu_flags ?? '[]') as string[],
    cookies: JSON.parse(told.cookies ?? '{}') as Record<string, string>,
  };
}

/**
 * Set a host's compressor as an operator does: a fragment of its configuration, then SIGHUP; wait until its log says
 * so.
 */
async function choose(host: Host, compressor: Compressor): Promise<void> {
  const fragment = join(host.directory, 'xenopsd.conf.d', 'compressor.conf');
  const line = `migration-compressor = ${compressor}\n`;
  const current = await readFile(fragment, 'utf8').catch(() => 'migration-compressor = stream\n');
  if (current === line) return;
  const log = join(host.directory, 'xenferryd.log');
  const said = (await readFile(log, 'utf8')).length;
  await writeFile(fragment, line);
  process.kill(host.pid, 'SIGHUP');
  const limit = Date.now() + 10_000;
  while (!(await readFile(log, 'utf8')).slice(said).includes('migration-compressor')) {
    if (Date.now() > limit)
      throw new Error(`${host.name} does not say that it took migration-compressor = ${compressor}`);
    await delay(20);
  }
}

interface Look {
  readonly ticks: number;
  /** The count goes up while one looks. */
  readonly counts: boolean;
  /** Every page is what the guest wrote. */
  readonly intact: boolean;
}

/** Ask the host's hypervisor itself, which knows the guest apart from anything that the toolstack says. */
async function look(host: Host, uuid: string): Promise<Look> {
  const hypervisor = await connectHypervisor(socketPathOf(host.directory), 'helper');
  const domain = async (): Promise<SimulatedDomain | undefined> =>
    (await hypervisor.call('list', {})).result.find((one) => one.uuid === uuid);
  try {
    const first = await domain();
    if (first === undefined) return { ticks: 0, counts: false, intact: false };
    const limit = Date.now() + countingSeconds * 1000;
    let now: SimulatedDomain | undefined = first;
    while (now !== undefined && now.ticks <= first.ticks && Date.now() < limit) {
      await delay(20);
      now = await domain();
    }
    const { result } = await hypervisor.call('verify', { handle: first.handle });
    const ticks = now?.ticks ?? first.ticks;
    return { ticks, counts: now?.state === 'running' && ticks > first.ticks, intact: result.badPages === 0 };
  } finally {
    await hypervisor.close();
  }
}
