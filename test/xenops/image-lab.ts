/** Suspend images of real domains, saved and restored by real helpers over connections that the test holds the other end of. */
import { once } from 'node:events';
import type net from 'node:net';
import { type DomainHandle, pageSize } from '../../src/base/domain.js';
import { nullLog } from '../../src/base/log.js';
import type { RawSocket } from '../../src/wire/connection/raw-socket.js';
import { findZstd, type ZstdCommand } from '../../src/wire/connection/zstd-pipe.js';
import { type ImageInit, restoreImage, type SaveInit, type SaveResult, saveImage } from '../../src/xenops/image.js';
import { type Lab, openLab } from '../emu-manager/harness.js';
import { testLimits } from '../support/limits.js';
import {
  type Connections,
  childProcesses,
  nothingOpenSince,
  openConnections,
  openDescriptors,
  readAll,
} from '../wire/connection/connections.js';

/** Bytes of what was saved: the memory channel, and the channel of each vGPU. */
export interface SavedImage {
  readonly result: SaveResult;
  readonly memory: Buffer;
  readonly vgpu: ReadonlyMap<string, Buffer>;
}

export interface ImageLab {
  readonly lab: Lab;
  readonly connections: Connections;
  /** The real zstd, and the program that stands in for it. */
  readonly codecs: { readonly real: ZstdCommand; readonly standIn: ZstdCommand };
  /** Boot a domain of so many pages. */
  boot(vgpus?: readonly string[], pages?: number): Promise<DomainHandle>;
  saveInit(handle: DomainHandle, memory: RawSocket, over?: Partial<SaveInit>): SaveInit;
  restoreInit(handle: DomainHandle, memory: RawSocket, over?: Partial<ImageInit>): ImageInit;
  /** Save and keep the bytes. */
  save(handle: DomainHandle, vgpus?: readonly string[], over?: Partial<SaveInit>): Promise<SavedImage>;
  /** Restore a new domain of as many pages from bytes. Unless `ends` the channel stays open behind them. */
  restore(memory: Buffer, over?: Partial<ImageInit> & { ends?: boolean; pages?: number }): Promise<DomainHandle>;
  /** Wait until the test has left no child, no socket and no pipe. */
  nothingLeft(): Promise<void>;
  close(): Promise<void>;
}

export async function openImageLab(): Promise<ImageLab> {
  const lab = await openLab();
  const connections = openConnections();
  const codecs = { real: await findZstd('zstd'), standIn: await findZstd('zstd', '') };
  const before = { descriptors: openDescriptors(), children: childProcesses() };
  const common = (handle: DomainHandle, memory: RawSocket): ImageInit => ({
    ...{
      helper: lab.simulator.saveHelper(),
      limits: testLimits,
      handle,
      channels: { memory, vgpu: new Map() },
    },
    ...{ endTimeoutMs: 10_000, signal: new AbortController().signal, log: nullLog, onProgress: () => undefined },
  });
  const saveInit: ImageLab['saveInit'] = (handle, memory, over) => ({
    ...{ ...common(handle, memory), live: true, vmStr: '{"name":"guest"}' },
    ...{ onSuspend: () => lab.simulator.pause(handle), ...over },
  });
  const restoreInit: ImageLab['restoreInit'] = (handle, memory, over) => ({ ...common(handle, memory), ...over });
  return {
    ...{ lab, connections, codecs, saveInit, restoreInit },
    async boot(vgpus = [], pages = 1024) {
      const handle = await lab.createDomain({ vgpus, memoryBytes: pages * pageSize });
      await lab.simulator.build(handle);
      return handle;
    },
    async save(handle, vgpus = [], over = {}) {
      const memory = await connections.connected();
      const channels = await Promise.all(vgpus.map(connections.connected));
      const vgpu = new Map(vgpus.map((device, index) => [device, (channels[index] as { raw: RawSocket }).raw]));
      const bytes = Promise.all([memory, ...channels].map(({ peer }) => readAll(peer)));
      const init = saveInit(handle, memory.raw, { channels: { memory: memory.raw, vgpu }, ...over });
      const [result, [first, ...rest]] = await Promise.all([saveImage(init), bytes]);
      return {
        ...{ result, memory: first as Buffer },
        vgpu: new Map(vgpus.map((device, index) => [device, rest[index] as Buffer])),
      };
    },
    async restore(memory, { ends = true, pages = 1024, ...over } = {}) {
      const handle = await lab.createDomain({ memoryBytes: pages * pageSize });
      const { raw, peer } = await connections.adopted();
      send(peer, memory, ends);
      try {
        await restoreImage(restoreInit(handle, raw, over));
      } finally {
        raw.destroy();
        peer.destroy();
      }
      return handle;
    },
    async nothingLeft() {
      connections.close();
      await nothingOpenSince(before.descriptors);
      const left = [...childProcesses()].filter((pid) => !before.children.has(pid));
      if (left.length > 0) throw new Error(`child processes are left: ${left}`);
    },
    async close() {
      connections.close();
      await lab.close();
    },
  };
}

function send(peer: net.Socket, bytes: Buffer, ends: boolean): void {
  if (bytes.length > 0) peer.write(bytes);
  if (ends) peer.end();
}

/** Bytes have come to this end. */
export async function somethingCame(peer: net.Socket): Promise<void> {
  if (peer.readableLength === 0) await once(peer, 'readable');
}
