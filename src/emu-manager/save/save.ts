/**
 * Saving a domain:
 *
 *   prepare:xenguest -> done
 *   rounds while the guest runs: all pages, then what it wrote meanwhile (rounds.ts, convergence.ts)
 *   suspend: -> done (the daemon has paused the domain)
 *   last round, CPU, END; with `-compress true` a checksum of everything before END
 *   with vGPUs: prepare:vgpu -> done, the state of each on its stream
 *   result:0 0
 *
 * A domain that is not live is suspended before the first round, which is then the only one. Figures are told in `stdout:` lines.
 */
import { constants } from 'node:fs';
import { availableParallelism } from 'node:os';
import { pageSize } from '../../base/domain.js';
import { openOwnFile } from '../../base/own-file.js';
import { formatFigures, formatStatistics } from '../../base/protocol/emu-protocol.js';
import { openSendQueue } from '../../wire/connection/send-queue.js';
import {
  createStreamChecksum,
  encodeChecksum,
  encodeFormat,
  type StreamChecksum,
} from '../../wire/stream/checked-stream.js';
import * as libxc from '../../wire/stream/libxc-stream.js';
import { writeVgpus } from '../../wire/stream/vgpu-codec.js';
import { consolePfn, storePfn } from '../memory/special-pages.js';
import { defaultRule, type RunArguments } from '../process/argv.js';
import type { Control } from '../process/control.js';
import type { Sink } from '../process/descriptor.js';
import type { Domain } from '../process/domain.js';
import { createPlainSender } from './page-sender.js';
import { createCourse, type Sent } from './progress.js';
import { sendLive, sendSuspended } from './rounds.js';

/** More would be more memory, and no network asks for them. */
const mostThreads = 16;

export interface SaveDeps {
  readonly control: Control;
  readonly domain: Domain;
  /** The same sink for the same descriptor. */
  sink(fd: number): Sink;
}

/** @throws whatever goes wrong; the domain stays as it is then */
export async function save(args: RunArguments, deps: SaveDeps): Promise<void> {
  const { control, domain } = deps;
  const checksum = args.checksum ? createStreamChecksum() : undefined;
  const sink = checkedSink(deps.sink(args.fd), checksum);
  await control.prepare('xenguest');
  const before = sink.written;
  const staticDataEnd = libxc.encodeRecord(libxc.recordTypes.staticDataEnd);
  await sink.write(libxc.encodeStreamHead(), staticDataEnd, ...(checksum === undefined ? [] : [encodeFormat()]));
  const sent = await sendMemory(args, deps, sink);
  await sink.write(
    libxc.encodeTscInfo(),
    libxc.encodeHvmParams(
      new Map([
        [libxc.hvmParams.storePfn, BigInt(storePfn)],
        [libxc.hvmParams.storeEvtchn, BigInt(args.storePort)],
        [libxc.hvmParams.consolePfn, BigInt(consolePfn)],
        [libxc.hvmParams.consoleEvtchn, BigInt(args.consolePort)],
      ]),
    ),
    libxc.encodeRecord(libxc.recordTypes.hvmContext, await domain.getContext()),
  );
  if (checksum !== undefined) await sink.write(encodeChecksum(checksum.value()));
  await sink.write(libxc.encodeRecord(libxc.recordTypes.end));
  const streamBytes = sink.written - before;
  const vgpus = await sendVgpus(args, deps);
  control.progress(1);
  control.log(formatStatistics({ rounds: sent.rounds, guestBytes: sent.pages * pageSize, streamBytes, ...vgpus }));
  await control.result({ of: 'save' });
}

/** The sink; what is written to it goes into the checksum as well. */
function checkedSink(sink: Sink, checksum: StreamChecksum | undefined): Sink {
  if (checksum === undefined) return sink;
  return {
    waiting: sink.waiting,
    get written() {
      return sink.written;
    },
    write(...pieces) {
      for (const piece of pieces) checksum.add(piece);
      return sink.write(...pieces);
    },
  };
}

async function sendMemory(args: RunArguments, { control, domain }: SaveDeps, sink: Sink): Promise<Sent> {
  const { path, pages } = domain.memory;
  const memoryFd = openOwnFile(path, constants.O_RDONLY);
  const { compressionLevel: level } = args;
  const queued = openSendQueue(args.link);
  const threads = Math.min(availableParallelism(), mostThreads);
  const sender = args.compress
    ? (await import('./compressed-sender.js')).createCompressedSender({ memoryFd, sink, queued, level, threads })
    : createPlainSender(memoryFd, sink);
  const now = () => performance.now();
  const course = createCourse({
    memoryPages: pages,
    written: () => sink.written,
    level: sender.level,
    now,
    rule: args.convergence ?? defaultRule,
    progress: control.progress,
    tell: (figures) => {
      if (args.convergence !== undefined || args.debugLog) control.log(formatFigures(figures));
    },
  });
  const init = { domain, sender, course, queued, now, suspend: control.suspend };
  return args.live ? sendLive(init) : sendSuspended(init);
}

/** One device a stream, in the domain's order; the last stream takes what is left. @returns how many bytes that were */
async function sendVgpus(args: RunArguments, { control, domain, sink }: SaveDeps): Promise<{ vgpuBytes?: number }> {
  const sinks = args.vgpuFds.map(sink);
  if (sinks.length === 0) return {};
  await control.prepare('vgpu');
  const devices = domain.memory.spec.vgpus;
  for (const [index, to] of sinks.entries()) {
    const named = devices.slice(index, index === sinks.length - 1 ? undefined : index + 1);
    await writeVgpus(to.write, named, domain.getVgpu, { compress: args.compressVgpu });
  }
  return { vgpuBytes: sinks.reduce((sum, { written }) => sum + written, 0) };
}
