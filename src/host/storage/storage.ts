/**
 * Local storage of one host: an SR is a directory, a volume a sparse file in it. Names are uuids and nothing else, links are
 * not followed, so nothing outside the directory of the named SR is ever touched. Sizes are bytes.
 *
 * A volume is made as `<uuid>.raw.partial`, flushed, and then named. Where that fails, or is given up, nothing is left; partial files
 * of a daemon that was killed are removed by the next one. A call that was answered outlives a loss of power.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, readdir, rmdir, statfs, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { HelperSettings } from '../../base/process/helper-process.js';
import { flushPath, makeDirectory } from '../../base/store/durable-file.js';
import { createCopyContent, shareContent } from './volume-copy.js';
import {
  absent,
  assertDirectory,
  type FileFigures,
  type Fill,
  failure,
  figuresOf,
  isWritten,
  type Making,
  makeFile,
  openVolume,
  removePartials,
  suffix,
  using,
  uuidPattern,
} from './volume-file.js';

export interface SrUsage {
  /** The size of the file system that holds the SR. */
  readonly physicalSize: number;
  /** How much of the file system is used, whoever uses it. */
  readonly physicalUtilisation: number;
}

export interface Volume extends FileFigures {
  readonly uuid: string;
}

/** Every method throws SR_BACKEND_FAILURE [status, '', text] where the file system refuses. */
export interface HostStorage {
  /** Make an empty SR; fine where it is there. */
  createSr(sr: string): Promise<void>;
  /** Check that an SR is there, and say what it uses. */
  statSr(sr: string): Promise<SrUsage>;
  /** Remove an SR; fine where it is gone. @throws SR_NOT_EMPTY */
  destroySr(sr: string): Promise<void>;
  /** The uuids of the SRs that are there. */
  listSrs(): Promise<string[]>;
  listVolumes(sr: string): Promise<Volume[]>;
  /** The figures of a volume; undefined, over RPC null, where there is no such volume. */
  statVolume(sr: string, volume: string): Promise<Volume | undefined>;
  /** Make a volume that reads as zeros. @throws VDI_TOO_LARGE [volume, most] */
  createVolume(sr: string, volume: string, bytes: number): Promise<Volume>;
  /**
   * Remove a volume; fine where it is gone. A volume that is being made is given up: the call that makes it fails with
   * ECANCELED.
   */
  destroyVolume(sr: string, volume: string): Promise<void>;
  /** Remove a volume as `destroyVolume` does. @throws SR_BACKEND_FAILURE EBUSY where it was written to since it was made */
  discardVolume(sr: string, volume: string): Promise<void>;
  /**
   * Make a volume larger; where that fails the volume keeps its size.
   * @throws VDI_TOO_SMALL [volume, least], VDI_TOO_LARGE [volume, most]
   */
  resizeVolume(sr: string, volume: string, bytes: number): Promise<Volume>;
  /** Take back a resize that nobody has been told of: cut the volume to the size that it had. */
  undoResize(sr: string, volume: string, bytes: number): Promise<void>;
  /** Copy a volume into an SR of this host, under another name. @throws SR_FULL [needed, free] */
  copyVolume(sr: string, volume: string, toSr: string, copy: string): Promise<Volume>;
  /**
   * How much of a copy that is being made is there, 0 to 1; undefined, over RPC null, where no copy of that name is being made.
   */
  copyProgress(toSr: string, copy: string): Promise<number | undefined>;
}

/** The storage of a host that serves it to its coordinator. */
export interface LocalStorage {
  readonly storage: HostStorage;
  /** Once, before anything else: remove what an earlier run of the daemon has not finished. */
  recover(): Promise<void>;
  /** Give up the volumes that are being made, and wait for that. */
  close(): Promise<void>;
}

/** The largest volume, in bytes: every common file system can hold a file of that size. */
export const largestVolume = 2 ** 44;

/**
 * Open the storage below a directory.
 * @param root the directory that holds the SRs' directories; made when it is needed
 * @param host the uuid of the host
 * @param helper how programs that copy are started
 */
export function openLocalStorage(root: string, host: string, helper: HelperSettings, log: Log): LocalStorage {
  const making = new Map<string, Making>();
  const closing = new AbortController();
  const storage = createStorage(root, making, closing.signal, helper);
  return {
    storage,
    async recover() {
      for (const sr of await storage.listSrs()) {
        try {
          const removed = await removePartials(join(root, sr), making);
          if (removed > 0) log.warn(`removed ${removed} disks from SR ${sr} that were not finished`);
        } catch (error) {
          log.warn(`what was not finished stays in SR ${sr}: ${messageOf(error)}`, { error });
        }
      }
    },
    async close() {
      closing.abort(new XapiError('HOST_OFFLINE', [host], 'the daemon of the host stops'));
      await Promise.all([...making.values()].map(({ ended }) => ended));
    },
  };
}

function createStorage(
  root: string,
  making: Map<string, Making>,
  closing: AbortSignal,
  helper: HelperSettings,
): HostStorage {
  const volumes = createVolumes(root, making, closing);
  const { pathOfSr, pathOf } = volumes;
  const copyContent = createCopyContent(helper);
  return guarded({
    async createSr(sr) {
      await makeDirectory(pathOfSr(sr));
      await assertDirectory(pathOfSr(sr));
      await flushPath(root);
    },
    async statSr(sr) {
      await assertDirectory(pathOfSr(sr));
      return usageOf(pathOfSr(sr));
    },
    async destroySr(sr) {
      const path = pathOfSr(sr);
      if ((await lstat(path).catch(absent)) === undefined) return;
      await assertDirectory(path);
      await removePartials(path, making);
      if ((await readdir(path)).length > 0) throw new XapiError('SR_NOT_EMPTY');
      await rmdir(path);
    },
    async listSrs() {
      const entries = (await readdir(root, { withFileTypes: true }).catch(absent)) ?? [];
      return entries.filter((each) => each.isDirectory() && uuidPattern.test(each.name)).map(({ name }) => name);
    },
    listVolumes: volumes.list,
    statVolume: volumes.stat,
    async createVolume(sr, volume, bytes) {
      assertSize(volume, bytes, 0);
      return volumes.make(sr, volume, (file) => file.truncate(bytes));
    },
    destroyVolume: volumes.remove,
    async discardVolume(sr, volume) {
      const path = pathOf(sr, volume);
      const isInUse = !making.has(path) && (await isWritten(path).catch(absent));
      if (isInUse) throw failure('EBUSY', `volume ${volume} was written to since it was made`);
      await volumes.remove(sr, volume);
    },
    async resizeVolume(sr, volume, bytes) {
      const file = await volumes.open(sr, volume, constants.O_RDWR);
      return using(file, () => resize(file, volume, bytes));
    },
    async undoResize(sr, volume, bytes) {
      assertSize(volume, bytes, 0);
      const file = await volumes.open(sr, volume, constants.O_RDWR);
      await using(file, async () => {
        await file.truncate(bytes);
        await file.sync();
      });
    },
    async copyVolume(sr, volume, toSr, copy) {
      pathOf(toSr, copy);
      await assertDirectory(pathOfSr(toSr));
      const source = await volumes.open(sr, volume, constants.O_RDONLY);
      return using(source, () =>
        volumes.make(toSr, copy, async (file, job, signal) => {
          if (await shareContent(source, file)) return;
          const needed = (await source.stat()).blocks * 512;
          const { physicalSize, physicalUtilisation } = await usageOf(pathOfSr(toSr));
          const free = physicalSize - physicalUtilisation - (await promised(making, (await file.stat()).dev, job));
          if (needed > free) throw new XapiError('SR_FULL', [String(needed), String(Math.max(free, 0))]);
          job.bytes = needed;
          await copyContent(source, file, signal);
        }),
      );
    },
    async copyProgress(toSr, copy) {
      const job = making.get(pathOf(toSr, copy));
      const found = await job?.file?.stat().catch(() => undefined);
      if (job === undefined) return undefined;
      return found === undefined || job.bytes === 0 ? 0 : Math.min((found.blocks * 512) / job.bytes, 1);
    },
  });
}

/** Volumes by the uuids of their SRs and their own: where they are, and how they come and go. */
function createVolumes(root: string, making: Map<string, Making>, closing: AbortSignal) {
  const pathOfSr = (sr: string): string => join(root, nameOf('SR', sr));
  const pathOf = (sr: string, volume: string): string => join(pathOfSr(sr), nameOf('VDI', volume) + suffix);
  const stat = async (sr: string, volume: string): Promise<Volume | undefined> => {
    const file = await openVolume(pathOf(sr, volume), constants.O_RDONLY);
    return file && using(file, async () => ({ uuid: volume, ...(await figuresOf(file)) }));
  };
  return {
    pathOfSr,
    pathOf,
    stat,
    async list(sr: string): Promise<Volume[]> {
      await assertDirectory(pathOfSr(sr));
      await removePartials(pathOfSr(sr), making);
      const names = (await readdir(pathOfSr(sr)))
        .filter((name) => name.endsWith(suffix))
        .map((name) => name.slice(0, -suffix.length))
        .filter((name) => uuidPattern.test(name));
      const found: Volume[] = [];
      for (const name of names) found.push(...[await stat(sr, name)].filter((each) => each !== undefined));
      return found;
    },
    /** @throws SR_BACKEND_FAILURE ENOENT where there is no such volume */
    async open(sr: string, volume: string, flags: number): Promise<FileHandle> {
      const file = await openVolume(pathOf(sr, volume), flags);
      if (file === undefined) throw failure('ENOENT', `SR ${sr} has no volume ${volume}`);
      return file;
    },
    async make(sr: string, volume: string, fill: Fill): Promise<Volume> {
      const path = pathOf(sr, volume);
      await assertDirectory(pathOfSr(sr));
      const isThere = (await lstat(path).catch(absent)) !== undefined;
      if (isThere || making.has(path)) throw failure('EEXIST', `SR ${sr} has a volume ${volume}`);
      const job: Making = { stop: new AbortController(), ended: Promise.resolve(), bytes: 0 };
      making.set(path, job);
      const made = makeFile(path, job, AbortSignal.any([job.stop.signal, closing]), fill);
      job.ended = made.then(
        () => void making.delete(path),
        () => void making.delete(path),
      );
      const figures = await made;
      await job.ended;
      return { uuid: volume, ...figures };
    },
    async remove(sr: string, volume: string): Promise<void> {
      const path = pathOf(sr, volume);
      await assertDirectory(pathOfSr(sr));
      const job = making.get(path);
      job?.stop.abort(failure('ECANCELED', `volume ${volume} is not made any more`));
      await job?.ended;
      await unlink(path).catch(absent);
      await flushPath(pathOfSr(sr));
    },
  };
}

/** Give an open volume another size, and its old one again where that fails. */
async function resize(file: FileHandle, volume: string, bytes: number): Promise<Volume> {
  const { size } = await file.stat();
  assertSize(volume, bytes, size);
  try {
    await file.truncate(bytes);
    await file.sync();
    return { uuid: volume, ...(await figuresOf(file)) };
  } catch (error) {
    await file.truncate(size).catch(() => undefined);
    throw error;
  }
}

/** Count the bytes that copies other than one will still take from a file system. */
async function promised(making: ReadonlyMap<string, Making>, device: number, except: Making): Promise<number> {
  let sum = 0;
  for (const job of making.values()) {
    const found = job === except ? undefined : await job.file?.stat().catch(() => undefined);
    if (found?.dev === device) sum += Math.max(job.bytes - found.blocks * 512, 0);
  }
  return sum;
}

function nameOf(cls: 'SR' | 'VDI', uuid: unknown): string {
  if (typeof uuid !== 'string' || !uuidPattern.test(uuid)) throw new XapiError('UUID_INVALID', [cls, String(uuid)]);
  return uuid;
}

function assertSize(volume: string, bytes: unknown, least: number): void {
  if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes < least) {
    throw new XapiError('VDI_TOO_SMALL', [volume, String(least)]);
  }
  if (bytes > largestVolume) throw new XapiError('VDI_TOO_LARGE', [volume, String(largestVolume)]);
}

async function usageOf(path: string): Promise<SrUsage> {
  const { bsize, blocks, bavail } = await statfs(path);
  return { physicalSize: blocks * bsize, physicalUtilisation: (blocks - bavail) * bsize };
}

/** Convert errors of the file system into SR_BACKEND_FAILURE, in every method. */
function guarded(storage: HostStorage): HostStorage {
  const guard =
    <A extends unknown[], T>(method: (...args: A) => Promise<T>) =>
    async (...args: A): Promise<T> => {
      try {
        return await method(...args);
      } catch (error) {
        if (error instanceof XapiError) throw error;
        throw failure((error as NodeJS.ErrnoException).code ?? '', messageOf(error), error);
      }
    };
  return {
    createSr: guard(storage.createSr),
    statSr: guard(storage.statSr),
    destroySr: guard(storage.destroySr),
    listSrs: guard(storage.listSrs),
    listVolumes: guard(storage.listVolumes),
    statVolume: guard(storage.statVolume),
    createVolume: guard(storage.createVolume),
    destroyVolume: guard(storage.destroyVolume),
    discardVolume: guard(storage.discardVolume),
    resizeVolume: guard(storage.resizeVolume),
    undoResize: guard(storage.undoResize),
    copyVolume: guard(storage.copyVolume),
    copyProgress: guard(storage.copyProgress),
  };
}
