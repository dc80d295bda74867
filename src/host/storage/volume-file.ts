/**
 * The files of volumes: made under another name, flushed, and named when they are whole. Where that fails, or is given up, nothing
 * is left; the files that a killed daemon leaves are known by their names.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { XapiError } from '../../base/errors.js';
import { flushPath } from '../../base/store/durable-file.js';

/** A volume that is being made. */
export interface Making {
  readonly stop: AbortController;
  ended: Promise<void>;
  file?: FileHandle;
  /** The bytes of data that are to be written, where they are copied. */
  bytes: number;
}

/** Fill an empty file with a volume's content. @param signal stops that */
export type Fill = (file: FileHandle, job: Making, signal: AbortSignal) => Promise<void>;

/** The end of the name of a volume's file, behind the volume's uuid. */
export const suffix = '.raw';
/** A further end of the name, while the volume is being made. */
const partial = '.partial';

/** The modification time, in seconds since 1970, of a volume that nobody has written to since it was made. */
const neverWritten = 0;

/** The names of SRs and volumes. */
export const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Where the image of a volume is. @param root the directory that holds the SRs' directories */
export function volumePath(root: string, sr: string, volume: string): string {
  return join(root, sr, volume + suffix);
}

const newFile = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Assert that a path is a directory, and no link. @throws SR_BACKEND_FAILURE, ENOENT */
export async function assertDirectory(path: string): Promise<void> {
  const found = await lstat(path);
  if (!found.isDirectory()) throw failure('ENOTDIR', `${path} is no directory`);
}

/** Open a volume's file; undefined where there is none. @throws SR_BACKEND_FAILURE for anything but a plain file */
export async function openVolume(path: string, flags: number): Promise<FileHandle | undefined> {
  const file = await open(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(absent);
  if (file === undefined || (await file.stat()).isFile()) return file;
  await file.close();
  throw failure('EINVAL', `${path} is no plain file`);
}

/** Close a file after the work. */
export async function using<T>(file: FileHandle, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    await file.close();
  }
}

/** The sizes of a volume's file, in bytes. */
export interface FileFigures {
  readonly virtualSize: number;
  /** What the file takes up on the disk; holes take up nothing. */
  readonly physicalUtilisation: number;
}

/** How large a volume's file is. */
export async function figuresOf(file: FileHandle): Promise<FileFigures> {
  const { size, blocks } = await file.stat();
  return { virtualSize: size, physicalUtilisation: blocks * 512 };
}

/** Make a file under another name, and rename the file when it is whole. Nothing is left where that fails. */
export async function makeFile(path: string, job: Making, signal: AbortSignal, fill: Fill): Promise<FileFigures> {
  const left = new Set<string>();
  try {
    signal.throwIfAborted();
    const file = await open(path + partial, newFile, 0o600);
    left.add(path + partial);
    job.file = file;
    const made = await using(file, async () => {
      await fill(file, job, signal);
      await file.utimes(neverWritten, neverWritten);
      // A disk that has refused an earlier write says so here.
      await file.sync();
      return figuresOf(file);
    }).finally(() => delete job.file);
    signal.throwIfAborted();
    await rename(path + partial, path);
    left.add(path);
    await flushPath(dirname(path));
    left.clear();
    return made;
  } finally {
    for (const name of left) await unlink(name).catch(() => undefined);
  }
}

/** Remove the partial files of a directory that nobody is making, and nothing else. @returns how many there were */
export async function removePartials(path: string, making: ReadonlyMap<string, unknown>): Promise<number> {
  const unfinished = (await readdir(path, { withFileTypes: true }))
    .filter((each) => each.isFile() && each.name.endsWith(suffix + partial))
    .map(({ name }) => name.slice(0, -partial.length))
    .filter((name) => uuidPattern.test(name.slice(0, -suffix.length)) && !making.has(join(path, name)));
  for (const name of unfinished) await unlink(join(path, name) + partial).catch(absent);
  return unfinished.length;
}

/** Whether anybody has written to a volume since it was made. @throws ENOENT */
export async function isWritten(path: string): Promise<boolean> {
  return (await lstat(path)).mtimeMs !== neverWritten * 1000;
}

/** Take ENOENT for `undefined`, in a `catch` of what may not be there. @throws any other error */
export function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined;
  throw error;
}

/** Make a SR_BACKEND_FAILURE. @param status the system's code of the error */
export function failure(status: string, text: string, cause?: unknown): XapiError {
  return new XapiError('SR_BACKEND_FAILURE', [status, '', text], cause);
}
