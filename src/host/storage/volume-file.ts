/**
 * The files of volumes: made under another name, flushed, and named when they are whole. Where that fails, or is given up, nothing is
 * left; what a daemon left that was killed is known by its name.
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

/** Makes an empty file a volume. @param signal stops it */
export type Fill = (file: FileHandle, job: Making, signal: AbortSignal) => Promise<void>;

/** Of the name of a volume's file, behind its uuid. */
export const suffix = '.raw';
/** Behind that, while the volume is made. */
const partial = '.partial';

/** When a volume was last written to that nobody has written to since it was made, in seconds since 1970. */
const neverWritten = 0;

/** The names of SRs and volumes. */
export const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Where the image of a volume is. @param root the directory that holds the SRs' directories */
export function volumePath(root: string, sr: string, volume: string): string {
  return join(root, sr, volume + suffix);
}

const newFile = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** @throws SR_BACKEND_FAILURE for what is no directory, a link to one included; ENOENT */
export async function assertDirectory(path: string): Promise<void> {
  const found = await lstat(path);
  if (!found.isDirectory()) throw failure('ENOTDIR', `${path} is no directory`);
}

/** Undefined where there is none; what is no plain file is refused. */
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

/** In bytes. */
export interface FileFigures {
  readonly virtualSize: number;
  /** What the file has on the disk; holes have nothing. */
  readonly physicalUtilisation: number;
}

/** How large a volume's file is. */
export async function figuresOf(file: FileHandle): Promise<FileFigures> {
  const { size, blocks } = await file.stat();
  return { virtualSize: size, physicalUtilisation: blocks * 512 };
}

/** Make a file under another name, and give it its own when it is whole. Nothing is left where that fails. */
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
      // A disk that has refused what was written before says so here.
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

/** Remove what was begun here and not finished, and nothing else that lies there. @returns how many there were */
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

/** For what is looked for and may not be there. */
export function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT') return undefined;
  throw error;
}

/** @param status the code of the system */
export function failure(status: string, text: string, cause?: unknown): XapiError {
  return new XapiError('SR_BACKEND_FAILURE', [status, '', text], cause);
}
