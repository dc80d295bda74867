/**
 * Local storage of one host: an SR is a directory, a volume a sparse file in it. Names are uuids and nothing else, links are
 * not followed, so nothing outside the directory of the named SR is ever touched. Sizes are bytes.
 */
import { constants } from 'node:fs';
import {
  copyFile,
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rmdir,
  statfs,
  unlink,
} from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, XapiError } from '../base/errors.js';

export interface SrUsage {
  /** The size of the file system that holds the SR. */
  readonly physicalSize: number;
  /** What of it cannot be used any more, whoever has it. */
  readonly physicalUtilisation: number;
}

export interface Volume {
  readonly uuid: string;
  readonly virtualSize: number;
  /** What the file has on the disk; holes have nothing. */
  readonly physicalUtilisation: number;
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
  /** Undefined, over RPC null, where there is no such volume. */
  statVolume(sr: string, volume: string): Promise<Volume | undefined>;
  /** Make a volume that reads as zeros. @throws VDI_TOO_LARGE [volume, most] */
  createVolume(sr: string, volume: string, bytes: number): Promise<Volume>;
  /** Fine where it is gone. */
  destroyVolume(sr: string, volume: string): Promise<void>;
  /** Make a volume larger. @throws VDI_TOO_SMALL [volume, least], VDI_TOO_LARGE [volume, most] */
  resizeVolume(sr: string, volume: string, bytes: number): Promise<Volume>;
  /** Copy a volume into an SR of this host, under another name. @throws SR_FULL [needed, free] */
  copyVolume(sr: string, volume: string, toSr: string, copy: string): Promise<Volume>;
}

/** The largest volume, in bytes: what every file system that is in use can hold as one file. */
export const largestVolume = 2 ** 44;
const suffix = '.raw';
const partial = '.partial';
const chunkBytes = 4 * 2 ** 20;
/** Holes are made in steps of this size, which is at least a block of most file systems. */
const holeBytes = 64 * 2 ** 10;
const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** @param root the directory that holds the SRs' directories; made when it is needed */
export function createHostStorage(root: string): HostStorage {
  const underWay = new Set<string>();
  const pathOfSr = (sr: string): string => join(root, nameOf('SR', sr));
  const pathOf = (sr: string, volume: string): string => join(pathOfSr(sr), nameOf('VDI', volume) + suffix);
  const stat = async (sr: string, volume: string): Promise<Volume | undefined> => {
    const file = await openVolume(pathOf(sr, volume), constants.O_RDONLY);
    return file && using(file, () => describe(file, volume));
  };
  const known = async (sr: string, volume: string, flags: number): Promise<FileHandle> => {
    const file = await openVolume(pathOf(sr, volume), flags);
    if (file === undefined) throw failure('ENOENT', `SR ${sr} has no volume ${volume}`);
    return file;
  };

  return guarded({
    async createSr(sr) {
      await mkdir(pathOfSr(sr), { recursive: true, mode: 0o700 });
      await assertDirectory(pathOfSr(sr));
    },
    async statSr(sr) {
      await assertDirectory(pathOfSr(sr));
      return usageOf(pathOfSr(sr));
    },
    async destroySr(sr) {
      const path = pathOfSr(sr);
      if ((await lstat(path).catch(absent)) === undefined) return;
      await assertDirectory(path);
      await removePartials(path, underWay);
      if ((await readdir(path)).length > 0) throw new XapiError('SR_NOT_EMPTY');
      await rmdir(path);
    },
    async listSrs() {
      const entries = (await readdir(root, { withFileTypes: true }).catch(absent)) ?? [];
      return entries.filter((each) => each.isDirectory() && uuidPattern.test(each.name)).map(({ name }) => name);
    },
    async listVolumes(sr) {
      await assertDirectory(pathOfSr(sr));
      await removePartials(pathOfSr(sr), underWay);
      const names = (await readdir(pathOfSr(sr)))
        .filter((name) => name.endsWith(suffix))
        .map((name) => name.slice(0, -suffix.length))
        .filter((name) => uuidPattern.test(name));
      const volumes: Volume[] = [];
      for (const name of names) volumes.push(...[await stat(sr, name)].filter((each) => each !== undefined));
      return volumes;
    },
    statVolume: stat,
    async createVolume(sr, volume, bytes) {
      assertSize(volume, bytes, 0);
      await assertDirectory(pathOfSr(sr));
      const file = await open(pathOf(sr, volume), newFile, 0o600);
      return using(file, async () => {
        await file.truncate(bytes);
        await file.sync();
        return describe(file, volume);
      });
    },
    async destroyVolume(sr, volume) {
      await assertDirectory(pathOfSr(sr));
      await unlink(pathOf(sr, volume)).catch(absent);
    },
    async resizeVolume(sr, volume, bytes) {
      const file = await known(sr, volume, constants.O_RDWR);
      return using(file, async () => {
        assertSize(volume, bytes, (await file.stat()).size);
        await file.truncate(bytes);
        await file.sync();
        return describe(file, volume);
      });
    },
    async copyVolume(sr, volume, toSr, copy) {
      const target = pathOf(toSr, copy);
      await assertDirectory(pathOfSr(toSr));
      if ((await lstat(target).catch(absent)) !== undefined) throw failure('EEXIST', `SR ${toSr} has a volume ${copy}`);
      const source = await known(sr, volume, constants.O_RDONLY);
      const making = target + partial;
      underWay.add(making);
      try {
        await using(source, () => copyData(source, pathOf(sr, volume), making));
        await rename(making, target);
      } finally {
        await unlink(making).catch(absent);
        underWay.delete(making);
      }
      const made = await stat(toSr, copy);
      if (made === undefined) throw failure('ENOENT', `the copy ${copy} of volume ${volume} is gone`);
      return made;
    },
  });
}

const newFile = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

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

async function assertDirectory(path: string): Promise<void> {
  const found = await lstat(path);
  if (!found.isDirectory()) throw failure('ENOTDIR', `${path} is no directory`);
}

/** Undefined where there is none; what is no plain file is refused. */
async function openVolume(path: string, flags: number): Promise<FileHandle | undefined> {
  const file = await open(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(absent);
  if (file === undefined || (await file.stat()).isFile()) return file;
  await file.close();
  throw failure('EINVAL', `${path} is no plain file`);
}

async function using<T>(file: FileHandle, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    await file.close();
  }
}

async function describe(file: FileHandle, uuid: string): Promise<Volume> {
  const { size, blocks } = await file.stat();
  return { uuid, virtualSize: size, physicalUtilisation: blocks * 512 };
}

async function usageOf(path: string): Promise<SrUsage> {
  const { bsize, blocks, bavail } = await statfs(path);
  return { physicalSize: blocks * bsize, physicalUtilisation: (blocks - bavail) * bsize };
}

/** Copies that an earlier run of the daemon did not finish. */
async function removePartials(path: string, underWay: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(path)) {
    const full = join(path, name);
    if (name.endsWith(suffix + partial) && !underWay.has(full)) await unlink(full).catch(absent);
  }
}

/** Share the blocks where the file system can, else copy what is not zero. */
async function copyData(source: FileHandle, path: string, target: string): Promise<void> {
  const shared = await copyFile(path, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE).then(
    () => true,
    () => false,
  );
  if (shared) return;
  await unlink(target).catch(absent);
  const copy = await open(target, newFile, 0o600);
  await using(copy, async () => {
    const { size, blocks } = await source.stat();
    const { physicalSize, physicalUtilisation } = await usageOf(target);
    const free = physicalSize - physicalUtilisation;
    if (blocks * 512 > free) throw new XapiError('SR_FULL', [String(blocks * 512), String(free)]);
    await copyChunks(source, copy);
    await copy.truncate(size);
    await copy.sync();
  });
}

async function copyChunks(source: FileHandle, copy: FileHandle): Promise<void> {
  const chunk = Buffer.alloc(chunkBytes);
  const zeros = Buffer.alloc(holeBytes);
  for (let position = 0; ; ) {
    const { bytesRead } = await source.read(chunk, 0, chunkBytes, position);
    if (bytesRead === 0) return;
    for (let from = 0; from < bytesRead; from += holeBytes) {
      const piece = chunk.subarray(from, Math.min(from + holeBytes, bytesRead));
      if (!piece.equals(zeros.subarray(0, piece.length))) await writeAll(copy, piece, position + from);
    }
    position += bytesRead;
  }
}

async function writeAll(file: FileHandle, data: Buffer, position: number): Promise<void> {
  for (let written = 0; written < data.length; ) {
    const { bytesWritten } = await file.write(data, written, data.length - written, position + written);
    written += bytesWritten;
  }
}

/** For what is looked for and may not be there. */
function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined;
  throw error;
}

function failure(status: string, text: string, cause?: unknown): XapiError {
  return new XapiError('SR_BACKEND_FAILURE', [status, '', text], cause);
}

/** The same methods, with errors of the file system as SR_BACKEND_FAILURE. */
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
    resizeVolume: guard(storage.resizeVolume),
    copyVolume: guard(storage.copyVolume),
  };
}
