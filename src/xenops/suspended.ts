/**
 * Suspended VMs of one host: their memory in files, and a durable row for each, which says what the files are worth.
 *
 *   suspend  row `saving` -> pause -> save into new files -> fsync, rename -> row `whole` -> destroy the domain
 *   resume   create, restore -> run, unless it is to stay paused -> remove row, then files
 *
 *   arrives  row `arriving` -> receive into new files -> fsync, rename -> row `whole`, when the migration has taken the VM
 *
 * A row `saving` of an earlier run means that the VM goes on as it was. A row `whole` counts while no domain of its VM has
 * run since: the domain that was saved goes then, and so does one that was restored and never ran. Files without a row are
 * removed; a row `arriving` is the migration's to keep or drop. So there is always one of the two, domain or image, and never both to choose from.
 */
import { randomUUID } from 'node:crypto';
import { readdir, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Backend } from '../backend/backend.js';
import { within } from '../base/deadline.js';
import { type DomainHandle, type DomainInfo, type DomainSpec, sameDomain } from '../base/domain.js';
import { isOutOfSpace, messageOf, XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { makeDirectory, nameFile } from '../base/store/durable-file.js';
import type { Store } from '../base/store/store.js';
import type { RawStream } from '../wire/connection/raw-socket.js';
import { type ImageChannels, type ImageLimits, restoreImage, saveImage } from './image.js';
import { createImageFile, openImageFile } from './image-file.js';
import { receiveParts, sendParts, type TransferInit } from './image-transfer.js';

export interface SuspendedDeps {
  readonly backend: Backend;
  readonly store: Store;
  /** Where the files are; made when it is needed. */
  readonly directory: string;
  readonly limits: () => ImageLimits;
  readonly log: Log;
}

export interface Suspended {
  /**
   * Pause a domain and save it; when this resolves its image outlives a loss of power. A failure leaves the domain as it was.
   * @throws SR_SUSPEND_SPACE_INSUFFICIENT [directory], OPERATION_NOT_ALLOWED for a domain in doubt
   */
  save(domain: DomainInfo): Promise<void>;
  /** Make a paused domain of an image, which stays. @throws VM_HAS_NO_SUSPEND_VDI [uuid], HOST_NOT_ENOUGH_FREE_MEMORY */
  restore(uuid: string): Promise<DomainHandle>;
  /** Remove an image; fine where there is none, or not the one that is named. */
  discard(uuid: string, image?: string): Promise<void>;
  /** What names the whole image of a VM for good. @throws VM_HAS_NO_SUSPEND_VDI [uuid] */
  imageOf(uuid: string): string;
  /** The bytes of each part of an image. @throws VM_HAS_NO_SUSPEND_VDI [uuid] */
  sizes(uuid: string): Promise<Record<string, number>>;
  /** Send an image, which stays. @returns as `sendParts` */
  send(uuid: string, transfer: ImageTransfer): Promise<readonly (number | undefined)[]>;
  /** Receive an image; it outlives a loss of power, and counts for nothing before `keep`. @throws as `save` */
  receive(
    spec: DomainSpec,
    image: string,
    sizes: Readonly<Record<string, number>>,
    transfer: ImageTransfer,
  ): Promise<void>;
  /** What arrived is the VM's image from here on; again, fine. @throws VM_HAS_NO_SUSPEND_VDI [uuid] where it is not there */
  keep(uuid: string, image: string): Promise<void>;
  /** What arrived is of no use; fine where there is nothing of it, or it was kept. */
  drop(uuid: string, image: string): Promise<void>;
  /** A domain of a VM runs here: an image of another domain is of no use any more. */
  outdate(uuid: string, running: DomainHandle): Promise<void>;
  /** The uuids of the VMs whose image is whole. */
  list(): string[];
  /** What the VM of an image was made from; undefined where there is no such image. */
  specOf(uuid: string): DomainSpec | undefined;
  /** Once, before anything else: end what an earlier run left half done. */
  recover(): Promise<void>;
  /** Give up what is under way, and wait for it. */
  close(): Promise<void>;
}

/** How an image is sent or received. */
interface ImageTransfer extends Omit<TransferInit, 'parts' | 'settings' | 'progressTimeoutMs'> {
  readonly channels: ImageChannels;
}

interface Row {
  readonly uuid: string;
  readonly state: 'saving' | 'arriving' | 'whole';
  /** The domain that is or was saved here. */
  readonly handle?: DomainHandle;
  /** What names the image; the domain does, where it is absent. */
  readonly image?: string;
  readonly wasRunning: boolean;
  readonly spec: DomainSpec;
}

/** How long the end of an image may take to be read. */
const endTimeoutMs = 60_000;
/** An image has a little more than the memory. */
const headroom = 1.02;

export function createSuspended(deps: SuspendedDeps): Suspended {
  const { backend, directory, log, store } = deps;
  const rows = store.table<Row>('suspended');
  const closing = new AbortController();
  const underWay = new Set<Promise<unknown>>();

  const pathOf = (uuid: string, part: string): string => join(directory, `${uuid}.${part}`);
  const partsOf = ({ spec }: Row): string[] => ['memory', ...spec.vgpus.map((device) => `vgpu-${device}`)];
  const common = (handle: DomainHandle, channels: ImageChannels) => ({
    ...{ helper: backend.saveHelper(), limits: deps.limits(), handle, channels, endTimeoutMs },
    ...{ signal: closing.signal, log },
    onProgress: () => undefined,
  });
  const follow = async <T>(work: Promise<T>): Promise<T> => {
    underWay.add(work);
    return work.finally(() => underWay.delete(work));
  };
  const removeFiles = async (keep: (name: string) => boolean): Promise<void> => {
    for (const name of await readdir(directory).catch(() => [])) {
      if (!keep(name)) await rm(join(directory, name), { force: true });
    }
  };
  const removeFilesOf = (uuid: string): Promise<void> => removeFiles((name) => !name.startsWith(`${uuid}.`));

  const discard = async (uuid: string, image?: string): Promise<void> => {
    const row = rows.get(uuid);
    if (row === undefined || (image !== undefined && idOf(row) !== image)) return;
    try {
      await rows.remove(uuid);
    } catch (error) {
      if (!isOutOfSpace(error)) throw error;
      // What makes space needs none first. Where it makes too little the row stays, and is removed the next time.
      await removeFilesOf(uuid);
      await rows.remove(uuid);
    }
    await removeFilesOf(uuid);
  };
  const wholeOf = (uuid: string): Row => {
    const row = rows.get(uuid);
    if (row?.state !== 'whole') throw new XapiError('VM_HAS_NO_SUSPEND_VDI', [uuid]);
    return row;
  };
  /** The VM goes on as it was. */
  const giveUp = async (row: Saved): Promise<void> => {
    const domain = (await backend.list()).find(({ handle }) => sameDomain(handle, row.handle));
    if (row.wasRunning && domain?.state === 'paused') await backend.unpause(row.handle, randomUUID());
    // First where they count for nothing: they may be what leaves no room for a change of the row.
    if (rows.get(row.uuid)?.state === 'saving') await removeFilesOf(row.uuid);
    await discard(row.uuid);
  };
  /** New files, which have their names and outlive a loss of power once they are written. */
  const writeParts = async (
    row: Row,
    write: (files: ReadonlyMap<string, RawStream>) => Promise<unknown>,
  ): Promise<void> => {
    const files = await openParts(partsOf(row), (part) => createImageFile(pathOf(row.uuid, `${part}.part`)));
    try {
      await write(files);
    } finally {
      for (const file of files.values()) file.destroy();
    }
    for (const part of files.keys()) {
      await nameFile(pathOf(row.uuid, `${part}.part`), pathOf(row.uuid, part));
    }
  };
  const transferOf = (
    { channels, ...transfer }: ImageTransfer,
    files: ReadonlyMap<string, RawStream>,
    sizes: Readonly<Record<string, number>>,
  ): TransferInit => ({
    ...transfer,
    signal: AbortSignal.any([transfer.signal, closing.signal]),
    settings: deps.limits(),
    progressTimeoutMs: deps.limits().progressTimeoutMs,
    parts: [...files].map(([part, file]) => {
      const channel = part === 'memory' ? channels.memory : channels.vgpu.get(part.replace(/^vgpu-/, ''));
      const bytes = sizes[part];
      if (channel === undefined || bytes === undefined) {
        throw new XapiError('INTERNAL_ERROR', [`the suspend image has no part ${part}`]);
      }
      return { file, channel, bytes };
    }),
  });
  const sizes = async (uuid: string): Promise<Record<string, number>> => {
    const entries = partsOf(wholeOf(uuid)).map(async (part) => [part, (await stat(pathOf(uuid, part))).size] as const);
    return Object.fromEntries(await Promise.all(entries));
  };
  const send: Suspended['send'] = async (uuid, transfer) => {
    closing.signal.throwIfAborted();
    const bytes = await sizes(uuid);
    const files = await openParts(partsOf(wholeOf(uuid)), (part) => openImageFile(pathOf(uuid, part)));
    return sendParts(transferOf(transfer, files, bytes));
  };
  const receive: Suspended['receive'] = async (spec, image, bytes, transfer) => {
    closing.signal.throwIfAborted();
    const { uuid } = spec;
    if (rows.get(uuid) !== undefined) {
      throw new XapiError('OPERATION_NOT_ALLOWED', [`the host has a suspend image of VM ${uuid} already`]);
    }
    await makeDirectory(directory);
    await removeFilesOf(uuid);
    await assertSpace(
      directory,
      Object.values(bytes).reduce((sum, each) => sum + each, 0),
    );
    const row: Row = { uuid, state: 'arriving', image, wasRunning: true, spec };
    await rows.put(uuid, row);
    await writeParts(row, (files) => receiveParts(transferOf(transfer, files, bytes)));
  };
  const writeFiles = async (row: Saved): Promise<void> => {
    const pauseMs = deps.limits().suspendTimeoutMs;
    await writeParts(row, (files) =>
      saveImage({
        ...common(row.handle, channelsOf(files)),
        live: false,
        vmStr: JSON.stringify(row.spec),
        onSuspend: () => within(backend.pause(row.handle, pauseMs), pauseMs, 'the guest did not stop'),
      }),
    );
  };
  const save = async ({ uuid, handle, state, inDoubt, memoryBytes }: DomainInfo): Promise<void> => {
    closing.signal.throwIfAborted();
    if (inDoubt !== undefined) throw new XapiError('OPERATION_NOT_ALLOWED', [`in doubt: ${inDoubt}`]);
    await makeDirectory(directory);
    const row: Saved = {
      ...{ uuid, handle, state: 'saving', wasRunning: state === 'running', image: randomUUID() },
      spec: await backend.specOf(handle),
    };
    // An older image of the VM is of no use any more.
    await removeFilesOf(uuid);
    await assertSpace(directory, memoryBytes);
    await rows.put(uuid, row);
    try {
      await writeFiles(row);
      await rows.put(uuid, { ...row, state: 'whole' });
      await store.flushed();
    } catch (error) {
      await giveUp(row).catch((failure: unknown) => log.error(`VM ${uuid} does not go on`, { error: failure }));
      throw error;
    }
  };
  const restore = async (uuid: string): Promise<DomainHandle> => {
    closing.signal.throwIfAborted();
    const row = wholeOf(uuid);
    const handle = await backend.create(row.spec);
    try {
      const files = await openParts(partsOf(row), (part) => openImageFile(pathOf(uuid, part)));
      await restoreImage(common(handle, channelsOf(files))).finally(() => {
        for (const file of files.values()) file.destroy();
      });
      return handle;
    } catch (error) {
      await backend.destroy(handle).catch((failure: unknown) => log.error('a domain is left', { error: failure }));
      throw error;
    }
  };
  const recoverRow = async (row: Row): Promise<void> => {
    if (row.state === 'arriving') return;
    if (row.state === 'saving') {
      log.warn('a suspend was interrupted: the VM goes on', { vm: row.uuid });
      return giveUp(row as Saved);
    }
    const domain = (await backend.list()).find(({ uuid }) => uuid === row.uuid);
    if (domain === undefined) return;
    if (isOf(row, domain.handle) && domain.state === 'paused') return backend.destroy(domain.handle);
    if (!(await backend.destroyUnlessRan(domain.handle))) await discard(row.uuid);
  };

  return {
    save: (domain) => follow(save(domain)),
    restore: (uuid) => follow(restore(uuid)),
    discard,
    imageOf: (uuid) => idOf(wholeOf(uuid)),
    sizes,
    send: (uuid, transfer) => follow(send(uuid, transfer)),
    receive: (...args) => follow(receive(...args)),
    async keep(uuid, image) {
      const row = rows.get(uuid);
      if (row === undefined || idOf(row) !== image) throw new XapiError('VM_HAS_NO_SUSPEND_VDI', [uuid]);
      await rows.put(uuid, { ...row, state: 'whole' });
      await store.flushed();
    },
    async drop(uuid, image) {
      if (rows.get(uuid)?.state === 'arriving') await discard(uuid, image);
    },
    async outdate(uuid, running) {
      const row = rows.get(uuid);
      if (row?.state === 'whole' && !isOf(row, running)) await discard(uuid);
    },
    list: () => [...rows.entries()].filter(([, { state }]) => state === 'whole').map(([uuid]) => uuid),
    specOf: (uuid) => rows.get(uuid)?.spec,
    async recover() {
      for (const [, row] of [...rows.entries()]) {
        await recoverRow(row).catch((error: unknown) => {
          log.error(`the suspended VM ${row.uuid}: ${messageOf(error)}`, { error });
        });
      }
      const known = new Set([...rows.entries()].map(([uuid]) => uuid));
      await removeFiles((name) => known.has(name.slice(0, name.indexOf('.'))));
    },
    async close() {
      closing.abort(new XapiError('HOST_OFFLINE', ['the daemon of the host stops']));
      await Promise.allSettled(underWay);
    },
  };
}

/** One that was made here. */
type Saved = Row & { readonly handle: DomainHandle };

function idOf({ image, handle }: Row): string {
  return image ?? `${handle?.instance}/${handle?.domid}`;
}

function isOf({ handle }: Row, domain: DomainHandle): boolean {
  return handle !== undefined && sameDomain(handle, domain);
}

/** Open a file for each part, or none. */
async function openParts(parts: readonly string[], openPart: (part: string) => Promise<RawStream>) {
  const files = new Map<string, RawStream>();
  try {
    for (const part of parts) files.set(part, await openPart(part));
    return files;
  } catch (error) {
    for (const file of files.values()) file.destroy();
    throw error;
  }
}

/** The first file has the memory, each other a vGPU. */
function channelsOf(files: ReadonlyMap<string, RawStream>): ImageChannels {
  const [[, memory], ...rest] = [...files] as [[string, RawStream], ...[string, RawStream][]];
  return { memory, vgpu: new Map(rest.map(([part, file]) => [part.replace(/^vgpu-/, ''), file])) };
}

async function assertSpace(directory: string, memoryBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize < memoryBytes * headroom) throw new XapiError('SR_SUSPEND_SPACE_INSUFFICIENT', [directory]);
}
