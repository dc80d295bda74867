/** The cases of the benchmark by name, and what a migration's case sets on the hosts. */
import type { Link } from './options.js';
import { type Yardstick, yardsticks } from './pipeline.js';
import { type QemuCase, qemuCases } from './qemu.js';
import { automatic } from './report.js';

/** Settings of a migration's case. */
export interface Setting {
  /** Compressor; absent: the call does not ask for compression. */
  readonly compressor?: 'stream' | 'xenguest';
  /** Keys of xenopsd.conf on both hosts. */
  readonly keys: Readonly<Record<string, string>>;
}

/** VMs that cross at once in the case `scale`, and how many of them the hosts are told to move at a time. */
export const scaleVms = 10;
/** Bytes of memory of each. */
export const scaleMemory = 256 * 2 ** 20;
const scaleLimits = [1, 2, 4, 10];

/** Fixed levels worth trying, by the link; 0 sends what is not zero as it is. */
const levels: Readonly<Record<Link | 'loopback', readonly number[]>> = {
  loopback: [0, -5, -2, 1, 3],
  '1gbit': [-5, -2, 1, 3, 6],
  '100mbit': [1, 3, 6, 9],
};

/** The cases that are run unless others are asked for. */
export function usualCases(link: Link | undefined): string[] {
  const fixed = levels[link ?? 'loopback'].map((level) => `xenguest:${level}`);
  return [...yardsticks, 'none', 'stream', automatic, ...fixed];
}

export interface Cases {
  /** With one VM, or none. */
  readonly single: readonly string[];
  /** With many VMs at once. */
  readonly scale: readonly string[];
}

/**
 * The names to run, those that stand for several replaced by them.
 * @throws an Error that says which cases there are
 */
export function casesOf(names: readonly string[]): Cases {
  const cases = [
    ...new Set(names.flatMap((name) => (name === 'scale' ? scaleLimits.map((n) => `scale:${n}`) : [name]))),
  ];
  for (const name of cases) if (!isYardstick(name) && !isQemuCase(name)) settingOf(name);
  return { single: cases.filter((name) => !isScale(name)), scale: cases.filter(isScale) };
}

/** Tell whether a case is one of the bare pipelines. */
export const isYardstick = (name: string): name is Yardstick => (yardsticks as readonly string[]).includes(name);
/** Tell whether a case is one of QEMU's own migration. */
export const isQemuCase = (name: string): name is QemuCase => (qemuCases as readonly string[]).includes(name);
const isScale = (name: string): boolean => name.startsWith('scale:');

/**
 * @returns the setting that a migration's case is named for
 * @throws an Error that says which cases there are
 */
export function settingOf(name: string): Setting {
  const [, kind, value] = /^(xenguest|scale):(\S+)$/.exec(name) ?? [];
  const xenguest = (keys: Record<string, string>): Setting => ({
    compressor: 'xenguest',
    keys: { 'migration-compressor': 'xenguest', ...keys },
  });
  if (name === 'none') return { keys: {} };
  if (name === 'stream') return { compressor: 'stream', keys: { 'migration-compressor': 'stream' } };
  if (name === automatic) return xenguest({ 'migration-compression-level': 'auto' });
  if (kind === 'xenguest') return xenguest({ 'migration-compression-level': value as string });
  if (kind === 'scale' && /^[1-9]\d*$/.test(value as string)) {
    return xenguest({ 'migration-outgoing-limit': value as string, 'migration-incoming-limit': value as string });
  }
  const known = [...yardsticks, 'none', 'stream', automatic, 'xenguest:LEVEL', ...qemuCases, 'scale', 'scale:LIMIT'];
  throw new Error(`there is no case '${name}'; there are ${known.join(', ')}`);
}
