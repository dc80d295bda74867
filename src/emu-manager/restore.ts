/**
 * Restoring a domain that was created and is still being built:
 *
 *   restore:xenguest -> the memory stream, exactly to the end of its END record -> result:xenguest 1 2
 *   restore:vgpu -> the state of virtual GPUs, from each `-dm vgpu:N` -> result:vgpu
 *
 * A stream is read when the daemon has read the header before it and says so. The streams may come at the same time.
 */
import type { Emu } from '../base/emu-protocol.js';
import {
  decodeHvmParams,
  decodePageData,
  hvmParams,
  type ReadExactly,
  readRecords,
  recordTypes,
} from '../wire/libxc-stream.js';
import { type CompressedPages, compressedPagesType, decodePages, expandPages } from '../wire/page-codec.js';
import type { RunArguments } from './argv.js';
import type { Control } from './control.js';
import type { Source } from './descriptor.js';
import type { Domain } from './domain.js';
import { openPageWriter, type PageWriter } from './domain-memory.js';
import { consolePfn, storePfn } from './special-pages.js';
import { readVgpus } from './vgpu.js';

export interface RestoreDeps {
  readonly control: Control;
  readonly domain: Domain;
  /** The same source for the same descriptor. */
  source(fd: number): Source;
}

/** @throws whatever goes wrong; the domain is not to be used then */
export async function restore(args: RunArguments, deps: RestoreDeps): Promise<void> {
  const awaited = new Set<Emu>(args.vgpuFds.length === 0 ? ['xenguest'] : ['xenguest', 'vgpu']);
  const work: Promise<void>[] = [];
  while (awaited.size > 0) {
    const emu = await Promise.race([deps.control.nextRestore(), failureOf(work)]);
    if (!awaited.delete(emu)) throw new Error(`unexpected restore:${emu}; awaited: ${[...awaited].join(', ')}`);
    work.push(emu === 'xenguest' ? restoreMemory(args.fd, deps) : restoreVgpus(args.vgpuFds, deps));
  }
  await Promise.all(work);
}

/** Settles only when one of them fails, like it. */
async function failureOf(work: readonly Promise<void>[]): Promise<never> {
  await Promise.all(work);
  return new Promise(() => undefined);
}

async function restoreVgpus(fds: readonly number[], { control, domain, source }: RestoreDeps): Promise<void> {
  for (const fd of fds) {
    for (const { device, state } of await readVgpus(source(fd))) await domain.setVgpu(device, state);
  }
  await control.result({ of: 'vgpu' });
}

async function restoreMemory(fd: number, { control, domain, source }: RestoreDeps): Promise<void> {
  const pages = createPageReceiver(openPageWriter(domain.memory));
  let context: Buffer | undefined;
  let params = new Map<bigint, bigint>();
  for await (const { type, body } of readRecords(createReader(source(fd)), new Set([compressedPagesType]))) {
    if (type === recordTypes.hvmContext) context = Buffer.from(body);
    if (type === recordTypes.hvmParams) params = decodeHvmParams(body);
    if (type === recordTypes.pageData) await pages.plain(body);
    if (type === compressedPagesType) await pages.compressed(body);
    control.progress(Math.min(0.99, pages.received() / domain.memory.pages));
  }
  await pages.end();
  control.progress(1);
  if (context === undefined) throw new Error('memory stream: it ended without HVM_CONTEXT');
  await domain.setContext(context);
  await control.result({
    of: 'xenguest',
    storeMfn: Number(params.get(hvmParams.storePfn) ?? storePfn),
    consoleMfn: Number(params.get(hvmParams.consolePfn) ?? consolePfn),
  });
}

/** Records that may be expanding while the next one is read. */
const expanding = 2;
/** Reads of up to so many bytes get a buffer of their own. */
const smallRead = 1 << 16;
const largeRead = 5 << 20;

/** Reads into a ring of buffers that is one longer than the records being expanded, so that none is overwritten. */
function createReader(source: Source): ReadExactly {
  const ring = Array.from({ length: expanding + 1 }, () => Buffer.allocUnsafeSlow(largeRead));
  let turn = 0;
  return async (bytes) => {
    let buffer: Buffer;
    if (bytes <= smallRead) buffer = Buffer.allocUnsafe(bytes);
    else if (bytes > largeRead) buffer = Buffer.allocUnsafeSlow(bytes);
    else {
      buffer = (ring[turn] as Buffer).subarray(0, bytes);
      turn = (turn + 1) % ring.length;
    }
    await source.readInto(buffer);
    return buffer;
  };
}

/** Puts pages into memory in the order in which their records came, while frames expand beside that. */
function createPageReceiver(writer: PageWriter) {
  const underWay: Promise<void>[] = [];
  let last = Promise.resolve();
  let received = 0;
  const end = async () => {
    await Promise.all(underWay.splice(0));
  };
  const put = (pages: CompressedPages, data: Buffer) => {
    if (pages.codec === 'zero') writer.clear(pages.pfns);
    else writer.write({ pfns: pages.pfns, data });
  };
  return {
    received: () => received,
    end,
    async plain(body: Buffer) {
      const pages = decodePageData(body);
      await end();
      writer.write(pages);
      received += pages.pfns.length;
    },
    async compressed(body: Buffer) {
      const pages = decodePages(body);
      const data = pages.codec === 'zero' ? Promise.resolve(body) : expandPages(pages);
      last = Promise.all([data, last]).then(([expanded]) => put(pages, expanded));
      last.catch(() => undefined);
      underWay.push(last);
      received += pages.pfns.length;
      if (underWay.length > expanding) await underWay.shift();
    },
  };
}
