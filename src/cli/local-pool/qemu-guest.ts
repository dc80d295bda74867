/** Real guests for pools whose hosts run QEMU, made on this machine from what its distribution has. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { ownVersion } from '../../base/version.js';

export const guestNames = ['linux', 'memtest86+'] as const;
export type GuestName = (typeof guestNames)[number];

/** The least memory that each runs in, in bytes. */
export const leastMemory: Readonly<Record<GuestName, number>> = { linux: 128 * 2 ** 20, 'memtest86+': 16 * 2 ** 20 };

/** A guest that can be started. */
export interface QemuGuest {
  /** What the configuration of the hosts says for it. */
  readonly config: Readonly<Record<string, string>>;
  /** Fields of its VM's record. */
  readonly record: Readonly<Record<'PV_kernel' | 'PV_ramdisk' | 'PV_args', string>>;
}

export interface GuestInit {
  readonly name: GuestName;
  /** Pages that it writes a second. */
  readonly dirtyRate?: number;
  readonly environment: NodeJS.ProcessEnv;
  /** Told what takes long. */
  readonly say: (text: string) => void;
  readonly signal: AbortSignal;
}

const qemu = 'qemu-system-x86_64';
const buildScript = fileURLToPath(new URL('../../../../scripts/linux-guest/build.sh', import.meta.url));
const memtest = '/boot/memtest86+x64.bin';
/** Memory that a guest with a dirty rate writes to, in MiB. */
const writtenMebibytes = 32;
const serialConsole = 'console=ttyS0,115200';

/**
 * Make a guest ready. The Linux guest is built once for each version of xenferry, and kept in the user's cache.
 * @throws an Error that says what this machine has not
 */
export async function prepareGuest(init: GuestInit): Promise<QemuGuest> {
  const { failed, stderr } = await execa(qemu, ['--version'], { reject: false });
  if (failed)
    throw new Error(`--backend qemu needs the program ${qemu}, in Debian's package qemu-system-x86${said(stderr)}`);
  if (init.name === 'linux') return linuxGuest(init);
  if (!existsSync(memtest)) throw new Error(`--guest memtest86+ needs ${memtest}, of Debian's package memtest86+`);
  return guestOf(memtest, '', serialConsole);
}

async function linuxGuest(init: GuestInit): Promise<QemuGuest> {
  const cache = join(init.environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'xenferry');
  const directory = join(cache, `linux-guest-${ownVersion()}`);
  if (!existsSync(directory)) await build(directory, init);
  const words = init.dirtyRate === undefined ? [] : [`memory=${writtenMebibytes}:${init.dirtyRate}`];
  return guestOf(
    join(directory, 'vmlinuz'),
    join(directory, 'initrd.gz'),
    [serialConsole, 'quiet', ...words].join(' '),
  );
}

function guestOf(kernel: string, ramdisk: string, args: string): QemuGuest {
  return {
    config: { backend: 'qemu', qemu, 'qemu-kernel-dir': dirname(kernel) },
    record: { PV_kernel: kernel, PV_ramdisk: ramdisk, PV_args: args },
  };
}

/** The directory appears with all that is in it, or not at all. */
async function build(directory: string, { say, signal }: GuestInit): Promise<void> {
  say(`building the Linux guest from Debian's packages, once, in ${directory}`);
  await mkdir(dirname(directory), { recursive: true });
  const part = await mkdtemp(`${directory}.part-`);
  try {
    const { failed, stderr } = await execa('sh', [buildScript, part], { reject: false, cancelSignal: signal });
    signal.throwIfAborted();
    if (failed) throw new Error(`the Linux guest cannot be built${said(stderr)}`);
    await rename(part, directory).catch((error: unknown) => {
      // Somebody else has built it meanwhile.
      if (!existsSync(directory)) throw error;
    });
  } finally {
    await rm(part, { recursive: true, force: true });
  }
}

function said(stderr: string): string {
  return stderr.trim() === '' ? '' : `: ${stderr.trim()}`;
}
