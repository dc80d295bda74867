/**
 * Restoring a domain that was created and is still being built:
 *
 *   restore:xenguest -> the memory stream, exactly to the end of its END record -> result:xenguest 1 2
 *   restore:vgpu -> the state of virtual GPUs, from each `-dm vgpu:N` -> result:vgpu
 *
 * A stream is read when the daemon has read the header before it and says so. The streams may come at the same time.
 */
import { availableParallelism } from 'node:os';
import { pageSize } from '../../base/domain.js';
import type { Emu } from '../../base/protocol/emu-protocol.js';
import { readCheckedRecords } from '../../wire/stream/checked-stream.js';
import { decodeHvmParams, hvmParams, type ReadExactly, recordTypes } from '../../wire/stream/libxc-stream.js';
import { compressedPagesType, maxCompressedBody } from '../../wire/stream/page-codec.js';
import { readVgpus } from '../../wire/stream/vgpu-codec.js';
import { openPageWriter } from '../memory/domain-memory.js';
import { consolePfn, storePfn } from '../memory/special-pages.js';
import type { RunArguments } from '../process/argv.js';
import type { Control } from '../process/control.js';
import type { Source } from '../process/descriptor.js';
import type { Domain } from '../process/domain.js';
import { createPageReceiver, createRingReader } from './page-receiver.js';

export interface RestoreDeps {
  readonly control: Control;
  readonly domain: Domain;
  /** The same source for the same descriptor. */
  source(fd: number): Source;
}

/**
 * Frames that may be expanding in other threads: none where the machine has no more than two cores, as this thread does it for less,
 * and somebody has to send.
 */
const expanding = Math.min(Math.max(availableParallelism() - 2, 0), 8);

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
  const missing = new Set(domain.memory.spec.vgpus);
  for (const fd of fds) {
    const from = source(fd);
    const read = async (bytes: number) => {
      const buffer = Buffer.allocUnsafe(bytes);
      await from.readInto(buffer);
      return buffer;
    };
    for await (const { device, state } of readVgpus(read)) {
      if (!missing.delete(device))
        throw new Error(`vGPU stream: ${device} is not a vGPU of the domain, or comes twice`);
      await domain.setVgpu(device, state);
    }
  }
  if (missing.size > 0) throw new Error(`vGPU stream: it ended without ${[...missing].join(', ')}`);
  await control.result({ of: 'vgpu' });
}

async function restoreMemory(fd: number, { control, domain, source }: RestoreDeps): Promise<void> {
  const writer = openPageWriter(domain.memory);
  const pages = createPageReceiver(writer, expanding);
  const read = bounded(createRingReader(source(fd), expanding), mostStreamBytes(domain.memory.pages));
  let context: Buffer | undefined;
  let params = new Map<bigint, bigint>();
  for await (const { type, body } of readCheckedRecords(read, new Map([[compressedPagesType, maxCompressedBody]]))) {
    // Other records use the ring of buffers too.
    if (type !== compressedPagesType) await pages.end();
    if (type === recordTypes.hvmContext) context = Buffer.from(body);
    if (type === recordTypes.hvmParams) params = decodeHvmParams(body);
    if (type === recordTypes.pageData) await pages.plain(body);
    if (type === compressedPagesType) await pages.compressed(body);
    control.progress(Math.min(0.99, pages.received() / domain.memory.pages));
  }
  await pages.end();
  if (context === undefined) throw new Error('memory stream: it ended without HVM_CONTEXT');
  const missing = writer.missing();
  if (missing > 0)
    throw new Error(`memory stream: it ended without ${missing} of the domain's ${domain.memory.pages} pages`);
  control.progress(1);
  await domain.setContext(context);
  await control.result({
    of: 'xenguest',
    storeMfn: Number(params.get(hvmParams.storePfn) ?? storePfn),
    consoleMfn: Number(params.get(hvmParams.consolePfn) ?? consolePfn),
  });
}

/** How often a stream may carry the whole memory: a save copies what is written to a few times at most. */
const mostCopies = 16;
/** What a stream may carry besides, in bytes. */
const besidesPages = 64 << 20;

/** So that no stream goes on for ever, whatever expands into it. */
function mostStreamBytes(pages: number): number {
  return mostCopies * pages * pageSize + besidesPages;
}

/** @throws when more is to be read in all */
function bounded(read: ReadExactly, most: number): ReadExactly {
  let left = most;
  return (bytes) => {
    left -= bytes;
    if (left < 0) throw new Error(`memory stream: longer than the ${most} bytes that the domain's may have`);
    return read(bytes);
  };
}
