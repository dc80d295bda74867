/** What the QEMU of this host is, and whether memory survives a migration by it. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf, XapiError } from '../../base/errors.js';
import type { Machine } from './command-line.js';

export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

export type Accelerator = Machine['accelerator'];

const probeTimeoutMs = 10_000;

/** @throws INVALID_VALUE naming the key `qemu` where the program cannot be run, or is no QEMU */
export async function versionOf(program: string): Promise<QemuVersion> {
  const run = promisify(execFile)(program, ['--version'], { timeout: probeTimeoutMs });
  const { stdout } = await run.catch((error: unknown) => {
    throw new XapiError('INVALID_VALUE', ['qemu', program], messageOf(error));
  });
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
