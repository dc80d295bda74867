/** What the QEMU of this host is, and whether memory survives a migration by it. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf, XapiError } from '../../base/errors.js';
import type { Machine } from './command-line.js';
import { kvmRefusal } from './kvm.js';

export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

export type Accelerator = Machine['accelerator'];

/** The QEMU of a host, as its domains use it. */
export interface QemuHost {
  readonly program: string;
  readonly version: QemuVersion;
  readonly accelerator: Accelerator;
  /** Why `auto` has not come to kvm. */
  readonly withoutKvm?: string;
  /** The versioned machine types that it has, as `query-machines` lists them. */
  readonly machineTypes: readonly string[];
  /** Of these the one that a VM gets at its first start. */
  readonly newestType: string;
}

const probeTimeoutMs = 10_000;

/**
 * Look at the QEMU of this host.
 * @param accelerator what the configuration says
 * @throws INVALID_VALUE [key of the configuration, value], with why in words as its cause
 */
export async function probeQemu(program: string, accelerator: Accelerator | 'auto'): Promise<QemuHost> {
  const version = await versionOf(program);
  const withoutKvm = accelerator === 'tcg' ? undefined : await kvmRefusal(program);
  if (accelerator === 'kvm' && withoutKvm !== undefined)
    throw new XapiError('INVALID_VALUE', ['qemu-accelerator', accelerator], withoutKvm);
  const chosen = accelerator === 'tcg' || withoutKvm !== undefined ? 'tcg' : 'kvm';
  assertSound(program, version, chosen);
  const types = await machineTypesOf(program);
  return {
    ...{ program, version, accelerator: chosen, ...types },
    ...(withoutKvm === undefined ? {} : { withoutKvm }),
  };
}

/** @throws INVALID_VALUE naming the key `qemu` where the program cannot be run, or is no QEMU */
export async function versionOf(program: string): Promise<QemuVersion> {
  const stdout = await run(program, ['--version']);
  const match = /version (\d+)\.(\d+)\.(\d+)/.exec(stdout);
  if (match === null) throw new XapiError('INVALID_VALUE', ['qemu', program], `it says ${stdout.slice(0, 80)}`);
  return { major: Number(match[1]), minor: Number(match[2]), micro: Number(match[3]) };
}

/**
 * Whether memory that is written while it is migrated arrives as it is. QEMU before 9.0 with tcg loses writes where the size of
 * the memory is a multiple of 256 KiB (seen with 7.2; such a size is what a VM has as a rule).
 */
export function isSound({ major }: QemuVersion, accelerator: Accelerator): boolean {
  return accelerator === 'kvm' || major >= 9;
}

/** @throws INVALID_VALUE [qemu, program] where memory does not survive a migration by it */
export function assertSound(program: string, version: QemuVersion, accelerator: Accelerator): void {
  if (isSound(version, accelerator)) return;
  const why = 'before 9.0 and without kvm it loses writes to memory that is migrated';
  throw new XapiError('INVALID_VALUE', ['qemu', program], `version ${version.major}.${version.minor}: ${why}`);
}

async function machineTypesOf(program: string): Promise<Pick<QemuHost, 'machineTypes' | 'newestType'>> {
  const help = await run(program, ['-machine', 'help']);
  const machineTypes = [...help.matchAll(/^(pc-[\w.-]+|q35-[\w.-]+)\s/gm)].map(([, name]) => String(name));
  const newestType = /^pc\s.*\(alias of (\S+)\)/m.exec(help)?.[1];
  if (newestType === undefined) throw new XapiError('INVALID_VALUE', ['qemu', program], 'it has no machine pc');
  return { machineTypes, newestType };
}

async function run(program: string, args: readonly string[]): Promise<string> {
  const ran = promisify(execFile)(program, args, { timeout: probeTimeoutMs });
  const { stdout } = await ran.catch((error: unknown) => {
    throw new XapiError('INVALID_VALUE', ['qemu', program], messageOf(error).trim());
  });
  return stdout;
}
