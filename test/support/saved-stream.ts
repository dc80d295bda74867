/** Memory streams of a small guest, as the real emu-manager writes them. */
import fs from 'node:fs';
import path from 'node:path';
import type { DomainHandle } from '../../src/base/domain.js';
import type { SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';
import { followSave, type Lab, openLab } from '../emu-manager/harness.js';

export interface SavedStreams {
  readonly plain: Buffer;
  readonly compressed: Buffer;
  /** Compressed in the version before, without a checksum. */
  readonly unchecked: Buffer;
  /** The memory that they are of. */
  readonly memory: Buffer;
}

/** The guest that they are of has this, and never ran. */
export const savedSpec: Partial<SimulatedSpec> = { memoryBytes: 1 << 20, seed: 7 };

/** Save a paused guest in each form. */
export async function saveStreams(lab: Lab): Promise<SavedStreams> {
  const handle = await lab.createDomain(savedSpec);
  await lab.simulator.build(handle);
  const save = async (flags: readonly string[]) => saveStream(lab, handle, ['-live', 'false', ...flags]);
  const [plain, compressed] = [await save([]), await save(['-compress', 'true'])];
  const unchecked = await save(['-compress', 'true', '-compress_format', '2']);
  return { plain, compressed, unchecked, memory: await lab.memoryOf(handle) };
}

/** Save a stream with a hypervisor of its own, which ends again. */
export async function savedStreams(): Promise<SavedStreams> {
  const lab = await openLab();
  try {
    return await saveStreams(lab);
  } finally {
    await lab.close();
  }
}

/** The memory stream of a domain, which is paused then. */
export async function saveStream(lab: Lab, handle: DomainHandle, flags: readonly string[]): Promise<Buffer> {
  const file = path.join(lab.directory, `saved${flags.join('')}`);
  const fd = fs.openSync(file, 'w');
  const argv = ['-mode', 'hvm_save', '-domid', String(handle.domid), '-dm', 'qemu', ...flags];
  await followSave(lab, lab.emu(argv, [fd]), handle);
  fs.closeSync(fd);
  return fs.readFileSync(file);
}
