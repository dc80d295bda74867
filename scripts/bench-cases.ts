/** The cases of the benchmark, and their rounds: each round runs every case once, in an order that rotates. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isConfigKey } from '../src/base/config-keys.js';
import type { NetworkPlace } from '../src/cli/local-host.js';
import { type BenchHosts, type BenchVm, openHosts, type Told } from './bench-hosts.js';
import type { Used } from './bench-measure.js';
import { compareFiles, runPipeline, type Yardstick, yardsticks } from './bench-pipeline.js';
import { automatic, rotated, type Sample, type Samples } from './bench-report.js';

/** What a migration's case sets on both hosts; no compressor: the call does not ask for compression. */
interface Setting {
  readonly compressor?: 'stream' | 'xenguest';
  /** Of `migration-compression-level`. */
  readonly level?: string;
}

const levelKey = 'migration-compression-level';
const usualLevels = ['-5', '-2', '1', '3'];

/** The cases that are run unless others are asked for. */
export function usualCases(): string[] {
  const levels = isConfigKey(levelKey) ? [automatic, ...usualLevels.map((level) => `xenguest:${level}`)] : ['xenguest'];
  return [...yardsticks, 'none', 'stream', ...levels];
}

/** @returns the setting that a case is named for. @throws an Error that says which cases there are */
export function settingOf(name: string): Setting {
  const [, level] = /^xenguest:(\S+)$/.exec(name) ?? [];
  if (name === 'none') return {};
  if (name === 'stream') return { compressor: 'stream' };
  if (name === 'xenguest') return { compressor: 'xenguest' };
  if (name === automatic) return { compressor: 'xenguest', level: 'auto' };
  if (level !== undefined) return { compressor: 'xenguest', level };
  throw new Error(`there is no case '${name}'; there are ${usualCases().join(', ')}, and xenguest:LEVEL`);
}

const isYardstick = (name: string): name is Yardstick => (yardsticks as readonly string[]).includes(name);

/** @throws an Error that says which cases there are, for a name that is none of them */
export function assertCases(names: readonly string[]): void {
  for (const name of names) if (!isYardstick(name)) settingOf(name);
}

export interface RoundsInit {
  /** Names of cases. */
  readonly cases: readonly string[];
  readonly rounds: number;
  /** Bytes of the VM's memory. */
  readonly memory: number;
  readonly places: readonly [NetworkPlace, NetworkPlace];
  readonly signal: AbortSignal;
  /** Told what goes on. */
  say(text: string): void;
}

const MiB = 2 ** 20;

/**
 * Run all cases. In the first round it is checked that what arrived is what was sent: page by page by the hypervisor, byte by
 * byte for the yardsticks. A migration that does not count goes before, so that both daemons have run one.
 */
export async function runRounds(init: RoundsInit): Promise<Samples> {
  const { cases, rounds, memory, say } = init;
  const directory = await memoryDirectory(memory);
  const samples = new Map<string, Sample[]>(cases.map((name) => [name, []]));
  let hosts: BenchHosts | undefined;
  try {
    say(`starting two hosts and a VM of ${memory / MiB} MiB`);
    hosts = await openHosts({ ...init, vms: 1, memoryDir: directory });
    const vm = hosts.vms[0] as BenchVm;
    const image = join(directory, 'image');
    if (cases.some(isYardstick)) {
      // Holes stay holes, as in the guest's own file.
      await promisify(execFile)('cp', ['--sparse=always', await hosts.memoryFile(vm), image], { signal: init.signal });
      say(`the yardsticks read ${image}, a copy of the guest's memory of ${memory / MiB} MiB`);
    }
    await hosts.migrate([vm], false);
    const copy = join(directory, 'copy');
    for (let round = 0; round < rounds; round++) {
      for (const name of rotated(cases, round)) {
        init.signal.throwIfAborted();
        const sample = isYardstick(name)
          ? await runYardstick(name, { ...init, image, copy, check: round === 0 })
          : await runMigration(name, { hosts, vm, check: round === 0 });
        samples.get(name)?.push(sample);
        say(`round ${round + 1} of ${rounds}: ${name}: ${inWords(sample, memory)}`);
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
  return `${seconds.toFixed(2)} s, ${speed} GiB/s, CPU ${cpuSeconds.toFixed(2)} s, ${(wireBytes / MiB).toFixed(1)} MiB on the wire`;
}

/** The guest at both hosts, or at one with the yardstick's two files; a third of the image is holes. */
const timesTheMemory = 2.7;

async function memoryDirectory(memory: number): Promise<string> {
  const shared = await statfs('/dev/shm').catch(() => undefined);
  const free = shared === undefined ? 0 : shared.bavail * shared.bsize;
  const parent = free >= memory * timesTheMemory ? '/dev/shm' : tmpdir();
  const there = await statfs(parent);
  const room = there.bavail * there.bsize;
  if (room < memory * timesTheMemory) {
    const needed = Math.ceil((memory * timesTheMemory) / MiB);
    throw new Error(`--memory ${memory / MiB} needs ${needed} MiB, and ${parent} has ${Math.floor(room / MiB)} free`);
  }
  return mkdtemp(join(parent, 'xenferry-bench-'));
}

interface YardstickInit extends Pick<RoundsInit, 'places' | 'signal'> {
  readonly image: string;
  readonly copy: string;
  readonly check: boolean;
}

async function runYardstick(name: Yardstick, init: YardstickInit): Promise<Sample> {
  const sample = await runPipeline(name, init);
  if (init.check) await compareFiles(init.image, init.copy);
  await rm(init.copy);
  return sample;
}

interface MigrationInit {
  readonly hosts: BenchHosts;
  readonly vm: BenchVm;
  readonly check: boolean;
}

async function runMigration(name: string, { hosts, vm, check }: MigrationInit): Promise<Sample> {
  const { compressor, level } = settingOf(name);
  await hosts.configure({
    ...(compressor === undefined ? {} : { 'migration-compressor': compressor }),
    ...(level === undefined ? {} : { [levelKey]: level }),
  });
  const used = await hosts.migrate([vm], compressor !== undefined);
  const [told = {}] = used.result;
  if (told.compressor_used !== (compressor ?? 'none')) {
    throw new Error(
      `${name}: the migration used ${told.compressor_used}, not ${compressor ?? 'none'}: ${told.fallback}`,
    );
  }
  if (check) await hosts.verify(vm);
  return sampleOf(used, told);
}

function sampleOf(used: Used<unknown>, told: Told): Sample {
  const { seconds, cpuSeconds, helperPeakBytes, daemonCoreShare } = used;
  const wireBytes = Number(told.wire_bytes);
  const downtimeMs = Number(told.downtime_ms);
  if (!(wireBytes > 0) || !(downtimeMs >= 0)) throw new Error(`the task lacks figures: ${JSON.stringify(told)}`);
  const level = told.compression_level;
  return {
    ...{ seconds, cpuSeconds, wireBytes, downtimeMs, helperPeakBytes, daemonCoreShare },
    taskSeconds: Number(told.seconds),
    ...(level === undefined ? {} : { level }),
  };
}
