/** The domain that a VM's record describes, for the host that is to run it. */
import { createHash } from 'node:crypto';
import type { RecordOf } from '../../../idl/index.js';
import { invalidValue, type XapiError } from '../../base/errors.js';
import type { DomainSpec, MemoryProfile, Workload } from '../../base/protocol/hypervisor-protocol.js';
import { domainMemory } from './memory-limits.js';

/** The keys of VM.other_config that say what the simulator's guest has in its memory and does. */
const simulatorKeys = {
  profile: 'simulator:profile',
  rate: 'simulator:dirty-pages-per-second',
  workingSet: 'simulator:working-set',
  seed: 'simulator:seed',
} as const;

const defaultProfile: MemoryProfile = { zero: 0.35, program: 0.33, text: 0.22, random: 0.1 };
const defaultWorkload: Workload = { dirtyPagesPerSecond: 200, workingSet: 0.1 };
const highestRate = 10_000_000;
/** Characters. A domain's name is for whoever looks at a host; what counts is the uuid. */
const longestName = 1024;

type VmFields = Pick<RecordOf<'VM'>, 'uuid' | 'name_label' | 'memory_static_max' | 'VCPUs_max' | 'other_config'>;

/**
 * @param vgpus the device numbers of its virtual GPUs
 * @throws INVALID_VALUE [field, value]
 */
export function domainSpec(vm: Readonly<VmFields>, vgpus: readonly string[]): DomainSpec {
  const config = vm.other_config;
  return {
    uuid: vm.uuid,
    name: vm.name_label.slice(0, longestName),
    memoryBytes: domainMemory(vm),
    vcpus: vm.VCPUs_max,
    profile: profileOf(config[simulatorKeys.profile]),
    workload: {
      dirtyPagesPerSecond: numberOf(config, simulatorKeys.rate, defaultWorkload.dirtyPagesPerSecond, highestRate),
      workingSet: numberOf(config, simulatorKeys.workingSet, defaultWorkload.workingSet, 1),
    },
    seed: seedOf(config[simulatorKeys.seed], vm.uuid),
    vgpus: [...vgpus].sort(),
  };
}

/** The keys of other_config with which a VM's domain is made as this one is. */
export function configOf({ profile, workload, seed }: DomainSpec): Record<string, string> {
  const shares = Object.entries(profile).map(([name, share]) => `${name}=${decimal(share * 100)}`);
  return {
    [simulatorKeys.profile]: shares.join(','),
    [simulatorKeys.rate]: decimal(workload.dirtyPagesPerSecond),
    [simulatorKeys.workingSet]: decimal(workload.workingSet),
    [simulatorKeys.seed]: String(seed),
  };
}

/** A number without an exponent, and without the noise of its last bits. */
function decimal(value: number): string {
  return value.toFixed(9).replace(/\.?0+$/, '');
}

/** `zero=35,program=33,text=22,random=10`: percent, together 100; what is not named is 0. */
function profileOf(text: string | undefined): MemoryProfile {
  if (text === undefined) return defaultProfile;
  const wrong = (): XapiError =>
    invalidValue(
      `other_config:${simulatorKeys.profile}`,
      text,
      'percentages that add up to 100, such as zero=35,program=33,text=22,random=10',
    );
  const percent = { zero: 0, program: 0, text: 0, random: 0 };
  const seen = new Set<string>();
  for (const part of text.split(',')) {
    const match = /^\s*(zero|program|text|random)\s*=\s*(\d+(?:\.\d+)?)\s*$/.exec(part);
    if (match === null || seen.has(String(match[1]))) throw wrong();
    seen.add(String(match[1]));
    percent[match[1] as keyof MemoryProfile] = Number(match[2]);
  }
  if (Math.abs(percent.zero + percent.program + percent.text + percent.random - 100) > 1e-6) throw wrong();
  return {
    zero: percent.zero / 100,
    program: percent.program / 100,
    text: percent.text / 100,
    random: percent.random / 100,
  };
}

function numberOf(config: Readonly<Record<string, string>>, key: string, otherwise: number, most: number): number {
  const text = config[key];
  if (text === undefined) return otherwise;
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= most)) throw invalidValue(`other_config:${key}`, text, `a number from 0 to ${most}`);
  return value;
}

/** 32 bits: what is given, else what the uuid gives. */
function seedOf(text: string | undefined, uuid: string): number {
  if (text === undefined) return createHash('sha256').update(uuid).digest().readUInt32LE(0);
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value < 2 ** 32))
    throw invalidValue(`other_config:${simulatorKeys.seed}`, text, `an integer from 0 to ${2 ** 32 - 1}`);
  return value;
}
