/**
 * What a simulated guest has in its memory and does, as the record of its VM says it in `other_config`. A description carries it
 * twice: in `settings`, and as the fields that a host of an earlier version reads.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { DomainSpec } from '../../base/domain.js';
import { invalidValue, type XapiError } from '../../base/errors.js';
import type { GuestContent, MemoryProfile, SimulatedSpec, Workload } from '../../base/protocol/hypervisor-protocol.js';
import { parse } from '../../base/schema.js';

/** The settings that this back end reads. */
const keys = {
  profile: 'other_config:simulator:profile',
  rate: 'other_config:simulator:dirty-pages-per-second',
  workingSet: 'other_config:simulator:working-set',
  seed: 'other_config:simulator:seed',
} as const;

type Settings = Readonly<Record<string, string>>;

const defaultProfile: MemoryProfile = { zero: 0.35, program: 0.33, text: 0.22, random: 0.1 };
const defaultWorkload: Workload = { dirtyPagesPerSecond: 200, workingSet: 0.1 };
const highestRate = 10_000_000;

const share = z.number().min(0).max(1);
const contentSchema = z.object({
  profile: z.object({ zero: share, program: share, text: share, random: share }),
  workload: z.object({ dirtyPagesPerSecond: z.number().min(0), workingSet: share }),
  seed: z.number().int(),
});

/**
 * Check a description and complete it. What is complete stays as it is; settings that are absent get the values by which the
 * guest is made.
 * @throws INVALID_VALUE [field, value]
 */
export function checkSpec(spec: DomainSpec): SimulatedSpec {
  const { uuid, name, memoryBytes, vcpus, vgpus, settings = {} } = spec;
  const content = 'profile' in spec ? parse(contentSchema, 'domain', spec) : contentOf(settings, uuid);
  return { uuid, name, memoryBytes, vcpus, vgpus, settings: settingsOf(content), ...content };
}

function contentOf(settings: Settings, uuid: string): GuestContent {
  return {
    profile: profileOf(settings[keys.profile]),
    workload: {
      dirtyPagesPerSecond: numberOf(settings, keys.rate, defaultWorkload.dirtyPagesPerSecond, highestRate),
      workingSet: numberOf(settings, keys.workingSet, defaultWorkload.workingSet, 1),
    },
    seed: seedOf(settings[keys.seed], uuid),
  };
}

function settingsOf({ profile, workload, seed }: GuestContent): Settings {
  const shares = Object.entries(profile).map(([name, part]) => `${name}=${decimal(part * 100)}`);
  return {
    [keys.profile]: shares.join(','),
    [keys.rate]: decimal(workload.dirtyPagesPerSecond),
    [keys.workingSet]: decimal(workload.workingSet),
    [keys.seed]: String(seed),
  };
}

/** Write a number without an exponent, and without the noise of its last bits. */
function decimal(value: number): string {
  return value.toFixed(9).replace(/\.?0+$/, '');
}

/** Read `zero=35,program=33,text=22,random=10`: percent, together 100; what is not named is 0. */
function profileOf(text: string | undefined): MemoryProfile {
  if (text === undefined) return defaultProfile;
  const percent = { zero: 0, program: 0, text: 0, random: 0 };
  const seen = new Set<string>();
  for (const part of text.split(',')) {
    const match = /^\s*(zero|program|text|random)\s*=\s*(\d+(?:\.\d+)?)\s*$/.exec(part);
    if (match === null || seen.has(String(match[1]))) throw wrongProfile(text);
    seen.add(String(match[1]));
    percent[match[1] as keyof MemoryProfile] = Number(match[2]);
  }
  const { zero, program, text: words, random } = percent;
  if (Math.abs(zero + program + words + random - 100) > 1e-6) throw wrongProfile(text);
  return { zero: zero / 100, program: program / 100, text: words / 100, random: random / 100 };
}

function wrongProfile(text: string): XapiError {
  const allowed = 'percentages that add up to 100, such as zero=35,program=33,text=22,random=10';
  return invalidValue(keys.profile, text, allowed);
}

function numberOf(settings: Settings, key: string, otherwise: number, most: number): number {
  const text = settings[key];
  if (text === undefined) return otherwise;
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= most)) throw invalidValue(key, text, `a number from 0 to ${most}`);
  return value;
}

/** Read 32 bits; those that the uuid gives, where nothing is said. */
function seedOf(text: string | undefined, uuid: string): number {
  if (text === undefined) return createHash('sha256').update(uuid).digest().readUInt32LE(0);
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value < 2 ** 32)) throw invalidValue(keys.seed, text, `an integer from 0 to ${2 ** 32 - 1}`);
  return value;
}
