/** Memory streams of a small guest, as the real emu-manager writes them. */
import fs from 'node:fs';
import path from 'node:path';
import type { DomainHandle, DomainSpec } from '../../src/base/hypervisor-protocol.js';
import { followSave, type Lab, openLab } from '../emu-manager/harness.js';

export interface SavedStreams {
  readonly plain: Buffer;
  readonly compressed: Buffer;
  /** The memory that they are of. */
  readonly memory: Buffer;
}

/** The guest that they are of has this, and never ran. */
export const savedSpec: Partial<DomainSpec> = { memoryBytes: 1 << 20, seed: 7 };

/** Save a paused guest in both forms. */
export async function saveStreams(lab: Lab): Promise<SavedStreams> {
  const handle = await lab.createDomain(savedSpec);
  await lab.simulator.build(handle);
  const save = async (flags: readonly string[]) => saveTo(lab, handle, flags);
  const [plain, compressed] = [await save([]), await save(['-compress', 'true'])];
  return { plain, compressed, memory: await lab.memoryOf(handle) };
}

/** The same, with a hypervisor of its own that ends again. */
export async function savedStreams(): Promise<SavedStreams> {
  const lab = await openLab();
  try {
    return await saveStreams(lab);
  } finally {
    await lab.close();
  }
}

async function saveTo(lab: Lab, handle: DomainHandle, flags: readonly string[]): Promise<Buffer> {
  const file = path.join(lab.directory, `saved${flags.join('')}`);
  const fd = fs.openSync(file, 'w');
  const argv = ['-mode', 'hvm_save', '-domid', String(handle.domid), '-live', 'false', '-dm', 'qemu', ...flags];
  await followSave(lab, lab.emu(argv, [fd]), handle);
  fs.closeSync(fd);
  return fs.readFileSync(file);
}
