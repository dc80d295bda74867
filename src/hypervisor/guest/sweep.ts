/** Work over all of a domain's memory, in batches that let the event loop breathe. */
import { setImmediate } from 'node:timers/promises';
import { pageSize } from '../../base/domain.js';
import type { Verification } from '../../base/protocol/hypervisor-protocol.js';
import { type Content, extentPages } from './content.js';
import type { GuestMemory } from './guest-memory.js';

const batchPages = 16 * extentPages;

/** Write the boot content. Zero extents are not written, so that they take no memory. */
export async function fillMemory(memory: GuestMemory, content: Content, pages: number): Promise<void> {
  const buffer = Buffer.alloc(extentPages * pageSize);
  for (let pfn = 0; pfn < pages; pfn += extentPages) {
    const extent = pfn / extentPages;
    if (content.kindOf(extent) !== 'zero') {
      const target = buffer.subarray(0, Math.min(extentPages, pages - pfn) * pageSize);
      content.fillExtent(target, extent);
      memory.write(target, pfn);
    }
    if (extent % 16 === 0) await setImmediate();
  }
}

/**
 * Check every page. The guest may run: a batch and the generations are looked at in one go.
 * @param generations how often each page was written
 */
export async function verifyMemory(
  memory: GuestMemory,
  content: Content,
  generations: () => Uint32Array,
): Promise<Verification> {
  const pages = generations().length;
  const buffer = Buffer.alloc(batchPages * pageSize);
  let badPages = 0;
  for (let first = 0; first < pages; first += batchPages) {
    const count = Math.min(batchPages, pages - first);
    memory.read(buffer.subarray(0, count * pageSize), first);
    for (let i = 0; i < count; i++) {
      const page = buffer.subarray(i * pageSize, (i + 1) * pageSize);
      if (!content.check(page, first + i, generations()[first + i] as number)) badPages++;
    }
    await setImmediate();
  }
  return { badPages, pages };
}
