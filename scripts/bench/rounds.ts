/** Running the cases of the benchmark: each round runs every case once, in another order. */

import { execFile } from 'node:child_process';
import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { defined } from '../../src/base/defined.js';
import type { NetworkPlace } from '../../src/cli/local-pool/local-host.js';
import { isQemuCase, isYardstick, scaleVms, settingOf } from './cases.js';
import { type BenchHosts, openHosts, type Told } from './hosts.js';
import type { Used } from './measure.js';
import { compareFiles, runPipeline } from './pipeline.js';
import { runQemu } from './qemu.js';
import { median, rotated, type Sample, type Samples } from './report.js';

export interface RoundsInit {
  /** Names of cases. */
  readonly cases: readonly string[];
  readonly rounds: number;
  /** Bytes of memory of each VM. */
  readonly memory: number;
  readonly vms: number;
  readonly places: readonly [NetworkPlace, NetworkPlace];
  readonly signal: AbortSignal;
  /** Told what goes on. */
  say(text: string): void;
}

const MiB = 2 ** 20;
/** What a case leaves to be done, such as giving back the memory of a guest, is not to slow down the next one. */
const settleMs = 500;

/**
 * Run all cases. In the first round it is checked that what arrived is what was sent: page by page by the hypervisor, byte by
 * byte for the others. A migration that does not count goes before, so that both daemons have run one.
 */
export async function runRounds(init: RoundsInit): Promise<Samples> {
  const { cases, rounds, memory, vms, say, signal } = init;
  const directory = await memoryDirectory(init);
  const samples = new Map<string, Sample[]>(cases.map((name) => [name, []]));
  let hosts: BenchHosts | undefined;
  try {
    say(`starting two hosts and ${vms === 1 ? 'a VM' : `${vms} VMs`} of ${memory / MiB} MiB`);
    const config = { 'worker-pool-size': String(scaleVms) };
    hosts = await openHosts({ ...init, config, memoryDir: directory });
    const image = cases.some(isYardstick) || cases.some(isQemuCase) ? await copyMemory(init, hosts, directory) : '';
    await hosts.migrate(hosts.vms, false);
    for (let round = 0; round < rounds; round++) {
      // Each case follows another one than in the round before.
      for (const name of rotated(round % 2 === 0 ? cases : cases.toReversed(), round)) {
        await delay(settleMs, undefined, { signal });
        const sample = await runCase(name, { ...init, hosts, directory, image, check: round === 0 });
        samples.get(name)?.push(sample);
        say(`round ${round + 1} of ${rounds}: ${name}: ${inWords(sample, vms * memory)}`);
      }
    }
    return samples;
  } finally {
    await hosts?.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

function inWords({ seconds, cpuSeconds, wireBytes }: Sample, memory: number): string {
  const speed = (memory / 2 ** 30 / seconds).toFixed(3);
  const wire = wireBytes === undefined ? '' : `, ${(wireBytes / MiB).toFixed(1)} MiB on the wire`;
  return `${seconds.toFixed(2)} s, ${speed} GiB/s, CPU ${cpuSeconds.toFixed(2)} s${wire}`;
}

const sharedMemory = '/dev/shm';

/** A directory on a tmpfs, where it has the room; all that is in it goes with it. */
async function memoryDirectory({ cases, memory, vms, say }: RoundsInit): Promise<string> {
  const qemu = cases.some(isQemuCase);
  // Each guest is there whole at both hosts; the image and QEMU's copy of it have no holes either.
  const times = vms * 2 + (qemu || cases.some(isYardstick) ? 1 : 0) + (qemu ? 1 : 0);
  const needed = Math.ceil(memory * times);
  const inShared = await freeBytes(sharedMemory);
  const parent = inShared >= needed ? sharedMemory : tmpdir();
  const free = await freeBytes(parent);
  const what = `${vms} of ${memory / MiB} MiB and what goes beside need ${Math.ceil(needed / MiB)} MiB`;
  if (free < needed) throw new Error(`guests: ${what}, and ${parent} has ${Math.floor(free / MiB)} MiB free`);
  if (parent !== sharedMemory) {
    say(
      `${sharedMemory} has ${Math.floor(inShared / MiB)} MiB free, and guests, ${what}: all is in ${parent}, at the speed of that`,
    );
  }
  return mkdtemp(join(parent, 'xenferry-bench-'));
}

async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory).catch(() => ({ bavail: 0, bsize: 0 }));
  return bavail * bsize;
}

/**
 * Without holes, as the guest's own file.
 * @returns the file
 */
async function copyMemory({ signal, say, memory }: RoundsInit, hosts: BenchHosts, directory: string): Promise<string> {
  const [vm] = hosts.vms;
  if (vm === undefined) throw new Error('there is no VM');
  const image = join(directory, 'image');
  await promisify(execFile)('cp', ['--sparse=never', await hosts.memoryFile(vm), image], { signal });
  say(`what is not a VM reads ${image}, a copy of the guest's memory of ${memory / MiB} MiB`);
  return image;
}

interface CaseInit extends RoundsInit {
  readonly hosts: BenchHosts;
  /** Directory for files and sockets. */
  readonly directory: string;
  /** The copy of the guest's memory, where a case needs it. */
  readonly image: string;
  /** Whether to look at what arrived. */
  readonly check: boolean;
}

async function runCase(name: string, init: CaseInit): Promise<Sample> {
  if (!isYardstick(name) && !isQemuCase(name)) return runMigration(name, init);
  const { image, directory } = init;
  const copy = join(directory, 'copy');
  const sample = isYardstick(name)
    ? await runPipeline(name, { ...init, copy })
    : await runQemu(name, { ...init, copy });
  if (init.check) await compareFiles(image, copy);
  await rm(copy);
  return sample;
}

async function runMigration(name: string, { hosts, check }: CaseInit): Promise<Sample> {
  const { compressor, keys } = settingOf(name);
  await hosts.configure(keys);
  const used = await hosts.migrate(hosts.vms, compressor !== undefined);
  for (const { compressor_used: found, fallback } of used.result) {
    const wanted = compressor ?? 'none';
    if (found !== wanted) throw new Error(`${name}: a migration used ${found}, not ${wanted}: ${fallback}`);
  }
  if (check) for (const vm of hosts.vms) await hosts.verify(vm);
  return sampleOf(used);
}

/** Bytes are those of all VMs, other figures of their tasks the median. */
function sampleOf({ result: tasks, seconds, cpuSeconds, helperPeakBytes, daemonCoreShare }: Used<Told[]>): Sample {
  const figure = (task: Told, key: string): number => {
    const value = Number(task[key] ?? Number.NaN);
    if (Number.isNaN(value)) throw new Error(`a task lacks ${key}: ${JSON.stringify(task)}`);
    return value;
  };
  const middle = (key: string) => median(tasks.map((task) => figure(task, key))) as number;
  const level = tasks[0]?.compression_level;
  return {
    seconds,
    cpuSeconds,
    helperPeakBytes,
    daemonCoreShare,
    wireBytes: tasks.reduce((sum, task) => sum + figure(task, 'wire_bytes'), 0),
    downtimeMs: middle('downtime_ms'),
    taskSeconds: middle('seconds'),
    ...defined({ level }),
  };
}
