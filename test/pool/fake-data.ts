/** What hosts in memory say of themselves, their domains and their migrations. */
import type { SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import type { MachineDescription } from '../../src/host/service/machine.js';
import type { MigrationReport } from '../../src/host/service/service.js';

export const machine: MachineDescription = {
  cpu: { vendor: 'v', modelname: 'm', speed: 2000, family: 6, model: 1, stepping: '2', flags: 'fpu sse' },
  interface: null,
  bios: { 'bios-vendor': 'b', 'system-product-name': 'p', 'oem-1': 'Xen' },
  bootTime: 1_600_000_000,
};

/** What a domain that a test has made by hand is said to be made of. */
export function foundSpec(uuid: string): SimulatedSpec {
  return {
    ...{ uuid, name: 'found', memoryBytes: 3 * 2 ** 24, vcpus: 2, seed: 7, vgpus: ['0'] },
    profile: { zero: 0.125, program: 0.3, text: 0.275, random: 0.3 },
    workload: { dirtyPagesPerSecond: 0, workingSet: 1 / 3 },
  };
}

export const report: MigrationReport = {
  compressorAsked: 'stream',
  compressorUsed: 'stream',
  emuFlags: ['-mode', 'hvm_save'],
  cookies: { compress: 'zstd' },
  guestBytes: 3000,
  wireBytes: 1000,
  rounds: 3,
  seconds: 1.5,
  downtimeMs: 42,
  digests: { source: 'abc', destination: 'abc' },
};
