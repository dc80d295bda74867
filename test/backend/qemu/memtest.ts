/** A guest that does nothing but test its memory, as long as it runs. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { Machine } from '../../../src/backend/qemu/command-line.js';
import { isSound, versionOf } from '../../../src/backend/qemu/probe.js';
import type { DomainSpec } from '../../../src/base/domain.js';

const kernel = '/boot/memtest86+x64.bin';
/** The least memory that it runs in, in bytes. */
export const leastBytes = 16 * 2 ** 20;

export function memtest(uuid: string, memoryBytes = leastBytes): DomainSpec {
  return { uuid, name: 'a, guest', memoryBytes, vcpus: 1, vgpus: [] };
}

function memtestMachine({ uuid, name, memoryBytes, vcpus }: DomainSpec): Machine {
  return {
    ...{ uuid, name, memoryBytes, vcpus, type: 'pc-i440fx-7.2', cpu: 'qemu64', accelerator: 'tcg' },
    ...{ coresPerSocket: 1, acpi: true, display: { kind: 'std', mebibytes: 16 } },
    boot: { kind: 'kernel', kernel, arguments: 'console=ttyS0,115200' },
    ...{ disks: [], interfaces: [] },
  };
}

/** What a back end with such guests is made with, beside its place and its program. */
export const memtestInit = {
  ...{ overheadBytes: 75 * 2 ** 20, accelerator: 'tcg' as const },
  checkSpec: (spec: DomainSpec) => spec,
  machineOf: memtestMachine,
};

/** The program of QEMU, where this machine has one that is sound without kvm, and the guest; tests of it are left out elsewhere. */
export const qemuProgram = await findQemu('qemu-system-x86_64');

async function findQemu(program: string): Promise<string | undefined> {
  if (!fs.existsSync(kernel)) return undefined;
  const version = await versionOf(program).catch(() => undefined);
  return version !== undefined && isSound(version, 'tcg') ? program : undefined;
}

/** The hash of a domain's memory as it is now, by the pid file of its process. */
export function memoryHash(domainDirectory: string): string {
  const descriptors = `/proc/${fs.readFileSync(path.join(domainDirectory, 'pid'), 'latin1').trim()}/fd`;
  const isMemory = (fd: string) => fs.readlinkSync(path.join(descriptors, fd)).startsWith('/memfd:memory-backend');
  const memory = fs.readdirSync(descriptors).find(isMemory) as string;
  return createHash('sha256')
    .update(fs.readFileSync(path.join(descriptors, memory)))
    .digest('hex');
}
