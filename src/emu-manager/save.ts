/**
 * Saving a domain:
 *
 *   prepare:xenguest -> done
 *   round 1, all pages; rounds 2 to 4, what the guest wrote meanwhile, until that is fewer than 50 pages
 *   suspend: -> done (the daemon has paused the domain)
 *   last round, CPU, END
 *   with vGPUs: prepare:vgpu -> done, the state of each on its stream
 *   result:0 0
 *
 * A domain that is not live is suspended before the first round, which is then the only one.
 */
import fs from 'node:fs';
import { formatStatistics } from '../base/emu-protocol.js';
import { pageSize } from '../base/hypervisor-protocol.js';
import * as libxc from '../wire/libxc-stream.js';
import { writeVgpus } from '../wire/vgpu-codec.js';
import type { RunArguments } from './argv.js';
import type { Control } from './control.js';
import type { Sink } from './descriptor.js';
import type { Domain } from './domain.js';
import { addPages, allPages, countPages, pagesIn } from './domain-memory.js';
import { createCompressedSender, createPlainSender, type PageSender } from './page-sender.js';
import { consolePfn, storePfn } from './special-pages.js';

const maxLiveRounds = 4;
const fewPages = 50;

export interface SaveDeps {
  readonly control: Control;
  readonly domain: Domain;
  /** The same sink for the same descriptor. */
  sink(fd: number): Sink;
}

/** @throws whatever goes wrong; the domain stays as it is then */
export async function save(args: RunArguments, deps: SaveDeps): Promise<void> {
  const { control, domain } = deps;
  const sink = deps.sink(args.fd);
  await control.prepare('xenguest');
  const before = sink.written;
  await sink.write(libxc.encodeStreamHead(), libxc.encodeRecord(libxc.recordTypes.staticDataEnd));
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
    libxc.encodeRecord(libxc.recordTypes.end),
  );
  const streamBytes = sink.written - before;
  await sendVgpus(args, deps);
  control.progress(1);
  control.log(formatStatistics({ rounds: sent.rounds, guestBytes: sent.pages * pageSize, streamBytes }));
  await control.result({ of: 'save' });
}

interface Sent {
  readonly rounds: number;
  readonly pages: number;
}

async function sendMemory(args: RunArguments, { control, domain }: SaveDeps, sink: Sink): Promise<Sent> {
  const { path, pages } = domain.memory;
  const memoryFd = fs.openSync(path, 'r');
  const sender = args.compress ? createCompressedSender(memoryFd, sink) : createPlainSender(memoryFd, sink);
  const round = createRounds({ sender, pages, control, debugLog: args.debugLog });
  if (!args.live) {
    await control.suspend();
    await round(allPages(pages));
    return round.sent();
  }
  const logDirty = await domain.logDirty();
  let dirty: Uint8Array = allPages(pages);
  do {
    await round(dirty);
    dirty = await logDirty.readClear();
  } while (countPages(dirty, pages) >= fewPages && round.sent().rounds < maxLiveRounds);
  await control.suspend();
  addPages(dirty, await logDirty.readClear());
  await round(dirty);
  await logDirty.close();
  return round.sent();
}

interface RoundsInit {
  readonly sender: PageSender;
  readonly pages: number;
  readonly control: Control;
  readonly debugLog: boolean;
}

/** A function that sends the pages of one round after the other, with progress: each round covers half of what is left. */
function createRounds({ sender, pages, control, debugLog }: RoundsInit) {
  const sent = { rounds: 0, pages: 0 };
  const round = async (bitmap: Uint8Array) => {
    const start = sent.rounds === 0 ? 0 : 1 - 0.2 / 2 ** (sent.rounds - 1);
    const end = 1 - 0.2 / 2 ** sent.rounds;
    const count = countPages(bitmap, pages);
    sent.rounds += 1;
    let done = 0;
    for (const pfns of pagesIn(bitmap, pages, sender.atMost)) {
      await sender.send(pfns);
      done += pfns.length;
      control.progress(start + ((end - start) * done) / count);
    }
    await sender.flush();
    sent.pages += count;
    if (debugLog) control.log(`round ${sent.rounds}: ${count} pages`);
  };
  return Object.assign(round, { sent: (): Sent => ({ ...sent }) });
}

/** One device a stream, in the domain's order; the last stream takes what is left. */
async function sendVgpus(args: RunArguments, { control, domain, sink }: SaveDeps): Promise<void> {
  const fds = args.vgpuFds;
  if (fds.length === 0) return;
  await control.prepare('vgpu');
  const devices = domain.memory.spec.vgpus;
  for (const [index, fd] of fds.entries()) {
    const named = devices.slice(index, index === fds.length - 1 ? undefined : index + 1);
    await writeVgpus(sink(fd).write, named, domain.getVgpu, { compress: args.compressVgpu });
  }
}
