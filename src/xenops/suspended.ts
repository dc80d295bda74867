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
import type { Backend } from '../backend/backend.js';
import { within } from '../base/deadline.js';
import { type DomainHandle, type DomainInfo, type DomainSpec, sameDomain } from '../base/domain.js';
import { isOutOfSpace, messageOf, XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import type { Store, Table } from '../base/store/store.js';
import { type ImageChannels, type ImageLimits, restoreImage, saveImage } from './image.js';
import { receiveParts, sendParts, type TransferInit } from './image-transfer.js';
import {
  channelsOf,
  closeFiles,
  createImageFiles,
  type ImageFiles,
  type PartFiles,
  transferParts,
} from './suspended-files.js';

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
  /** The name, for good, of the whole image of a VM. @throws VM_HAS_NO_SUSPEND_VDI [uuid] */
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
  /** Take what arrived for the VM's image from here on; fine again. @throws VM_HAS_NO_SUSPEND_VDI [uuid] where it is not there */
  keep(uuid: string, image: string): Promise<void>;
  /** Remove what arrived; fine where there is nothing of it, or it was kept. */
  drop(uuid: string, image: string): Promise<void>;
  /** Remove the image of a VM of which a domain runs here, unless the image is that domain's. */
  outdate(uuid: string, running: DomainHandle): Promise<void>;
  /** The uuids of the VMs whose image is whole. */
  list(): string[];
  /** The specification of an image's VM; undefined where there is no such image. */
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

/** A VM's row in the store. */
interface Row {
  readonly uuid: string;
  readonly state: 'saving' | 'arriving' | 'whole';
  /** The domain that is or was saved here. */
  readonly handle?: DomainHandle;
  /** The name of the image; absent where the domain's handle names it. */
  readonly image?: string;
  readonly wasRunning: boolean;
  readonly spec: DomainSpec;
}

/** A row of a VM whose domain is or was saved here. */
type Saved = Row & { readonly handle: DomainHandle };

/** The suspended VMs of one run of the daemon. */
interface Images {
  readonly deps: SuspendedDeps;
  readonly rows: Table<Row>;
  readonly files: ImageFiles;
  /** Aborted when the daemon stops. */
  readonly closing: AbortController;
}

/** How long the end of an image may take to be read. */
const endTimeoutMs = 60_000;

/** Find the suspended VMs that the store and the directory have. */
export function createSuspended(deps: SuspendedDeps): Suspended {
  const rows = deps.store.table<Row>('suspended');
  const images: Images = { deps, rows, files: createImageFiles(deps.directory), closing: new AbortController() };
  const underWay = new Set<Promise<unknown>>();
  const follow = async <T>(begin: () => Promise<T>): Promise<T> => {
    images.closing.signal.throwIfAborted();
    const work = begin();
    underWay.add(work);
    return work.finally(() => underWay.delete(work));
  };
  return {
    save: (domain) => follow(() => save(images, domain)),
    restore: (uuid) => follow(() => restore(images, uuid)),
    discard: (uuid, image) => discard(images, uuid, image),
    imageOf: (uuid) => idOf(wholeOf(images, uuid)),
    sizes: async (uuid) => images.files.sizes(wholeOf(images, uuid)),
    send: (uuid, transfer) => follow(() => send(images, uuid, transfer)),
    receive: (...args) => follow(() => receive(images, ...args)),
    async keep(uuid, image) {
      const row = rows.get(uuid);
      if (row === undefined || idOf(row) !== image) throw new XapiError('VM_HAS_NO_SUSPEND_VDI', [uuid]);
      await rows.put(uuid, { ...row, state: 'whole' });
      await deps.store.flushed();
    },
    async drop(uuid, image) {
      if (rows.get(uuid)?.state === 'arriving') await discard(images, uuid, image);
    },
    async outdate(uuid, running) {
      const row = rows.get(uuid);
      if (row?.state === 'whole' && !isOf(row, running)) await discard(images, uuid);
    },
    list: () => [...rows.entries()].filter(([, { state }]) => state === 'whole').map(([uuid]) => uuid),
    specOf: (uuid) => rows.get(uuid)?.spec,
    async recover() {
      for (const [, row] of [...rows.entries()]) {
        await recoverRow(images, row).catch((error: unknown) => {
          deps.log.error(`the suspended VM ${row.uuid}: ${messageOf(error)}`, { error });
        });
      }
      await images.files.removeAllBut(new Set([...rows.entries()].map(([uuid]) => uuid)));
    },
    async close() {
      images.closing.abort(new XapiError('HOST_OFFLINE', ['the daemon of the host stops']));
      await Promise.allSettled(underWay);
    },
  };
}

async function save(images: Images, { uuid, handle, state, inDoubt, memoryBytes }: DomainInfo): Promise<void> {
  const { deps, rows, files } = images;
  if (inDoubt !== undefined) throw new XapiError('OPERATION_NOT_ALLOWED', [`in doubt: ${inDoubt}`]);
  const row: Saved = {
    ...{ uuid, handle, state: 'saving', wasRunning: state === 'running', image: randomUUID() },
    spec: await deps.backend.specOf(handle),
  };
  await files.makeRoom(uuid, memoryBytes);
  await rows.put(uuid, row);
  try {
    await files.write(row, (parts) => saveParts(images, row, parts));
    await rows.put(uuid, { ...row, state: 'whole' });
    await deps.store.flushed();
  } catch (error) {
    await giveUp(images, row).catch((failure: unknown) => {
      deps.log.error(`VM ${uuid} does not go on`, { error: failure });
    });
    throw error;
  }
}

async function saveParts(images: Images, row: Saved, parts: PartFiles): Promise<void> {
  const { backend, limits } = images.deps;
  const pauseMs = limits().suspendTimeoutMs;
  await saveImage({
    ...imageInit(images, row.handle, parts),
    live: false,
    vmStr: JSON.stringify(row.spec),
    onSuspend: () => within(backend.pause(row.handle, pauseMs), pauseMs, 'the guest did not stop'),
  });
}

async function restore(images: Images, uuid: string): Promise<DomainHandle> {
  const { backend, log } = images.deps;
  const row = wholeOf(images, uuid);
  const handle = await backend.create(row.spec);
  try {
    const parts = await images.files.open(row);
    await restoreImage(imageInit(images, handle, parts)).finally(() => closeFiles(parts));
    return handle;
  } catch (error) {
    await backend.destroy(handle).catch((failure: unknown) => log.error('a domain is left', { error: failure }));
    throw error;
  }
}

/** What a save and a restore have in common. */
function imageInit({ deps, closing }: Images, handle: DomainHandle, parts: PartFiles) {
  const { backend, log } = deps;
  return {
    ...{ helper: backend.saveHelper(), limits: deps.limits(), handle, channels: channelsOf(parts), endTimeoutMs },
    ...{ signal: closing.signal, log },
    onProgress: () => undefined,
  };
}

async function send(images: Images, uuid: string, transfer: ImageTransfer): ReturnType<Suspended['send']> {
  const row = wholeOf(images, uuid);
  const sizes = await images.files.sizes(row);
  return sendParts(transferInit(images, transfer, await images.files.open(row), sizes));
}

async function receive(images: Images, ...[spec, image, sizes, transfer]: Parameters<Suspended['receive']>) {
  const { rows, files } = images;
  const { uuid } = spec;
  if (rows.get(uuid) !== undefined) {
    throw new XapiError('OPERATION_NOT_ALLOWED', [`the host has a suspend image of VM ${uuid} already`]);
  }
  const bytes = Object.values(sizes).reduce((sum, each) => sum + each, 0);
  await files.makeRoom(uuid, bytes);
  const row: Row = { uuid, state: 'arriving', image, wasRunning: true, spec };
  await rows.put(uuid, row);
  await files.write(row, (parts) => receiveParts(transferInit(images, transfer, parts, sizes)));
}

function transferInit(
  { deps, closing }: Images,
  { channels, ...transfer }: ImageTransfer,
  parts: PartFiles,
  sizes: Readonly<Record<string, number>>,
): TransferInit {
  const settings = deps.limits();
  return {
    ...transfer,
    signal: AbortSignal.any([transfer.signal, closing.signal]),
    settings,
    progressTimeoutMs: settings.progressTimeoutMs,
    parts: transferParts(parts, channels, sizes),
  };
}

async function discard({ rows, files }: Images, uuid: string, image?: string): Promise<void> {
  const row = rows.get(uuid);
  if (row === undefined || (image !== undefined && idOf(row) !== image)) return;
  try {
    await rows.remove(uuid);
  } catch (error) {
    if (!isOutOfSpace(error)) throw error;
    // The files are what makes space. Where they make too little the row stays, and is removed the next time.
    await files.removeOf(uuid);
    await rows.remove(uuid);
  }
  await files.removeOf(uuid);
}

/** Have a VM go on as it was before its save. */
async function giveUp(images: Images, row: Saved): Promise<void> {
  const { deps, rows, files } = images;
  const domain = (await deps.backend.list()).find(({ handle }) => sameDomain(handle, row.handle));
  if (row.wasRunning && domain?.state === 'paused') await deps.backend.unpause(row.handle, randomUUID());
  // Files of a row `saving` count for nothing, and may be what leaves no room for a change of the row: they go first.
  if (rows.get(row.uuid)?.state === 'saving') await files.removeOf(row.uuid);
  await discard(images, row.uuid);
}

async function recoverRow(images: Images, row: Row): Promise<void> {
  const { backend, log } = images.deps;
  if (row.state === 'arriving') return;
  if (row.state === 'saving') {
    log.warn('a suspend was interrupted: the VM goes on', { vm: row.uuid });
    return giveUp(images, row as Saved);
  }
  const domain = (await backend.list()).find(({ uuid }) => uuid === row.uuid);
  if (domain === undefined) return;
  if (isOf(row, domain.handle) && domain.state === 'paused') return backend.destroy(domain.handle);
  if (!(await backend.destroyUnlessRan(domain.handle))) await discard(images, row.uuid);
}

/** @throws VM_HAS_NO_SUSPEND_VDI [uuid] */
function wholeOf({ rows }: Images, uuid: string): Row {
  const row = rows.get(uuid);
  if (row?.state !== 'whole') throw new XapiError('VM_HAS_NO_SUSPEND_VDI', [uuid]);
  return row;
}

function idOf({ image, handle }: Row): string {
  return image ?? `${handle?.instance}/${handle?.domid}`;
}

function isOf({ handle }: Row, domain: DomainHandle): boolean {
  return handle !== undefined && sameDomain(handle, domain);
}
