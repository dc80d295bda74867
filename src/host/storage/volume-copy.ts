/**
 * How the content of one volume is copied into another, with its holes. Blocks are shared where the file system can; else GNU cp copies the extents
 * that have data, beside the daemon, so that neither its threads nor its event loop wait for a slow disk. Node itself cannot ask
 * where a file has its holes (SEEK_DATA): where there is no GNU cp, the daemon reads them.
 */
import { constants, copyFile, type FileHandle } from 'node:fs/promises';
import { type Command, type HelperEnd, type HelperSettings, startHelper } from '../../base/process/helper-process.js';

/**
 * Copy a volume's content.
 * @param target an empty file; its content is of no use where the copy fails
 * @param signal stops the copy
 * @throws the signal's reason, or an error with the `code` of the system where the disk refuses
 */
export type CopyContent = (source: FileHandle, target: FileHandle, signal: AbortSignal) => Promise<void>;

const chunkBytes = 4 * 2 ** 20;
/** The unit in which zeros become holes, in bytes: at least a block of most file systems. */
const holeBytes = 64 * 2 ** 10;

/** Make the target share the blocks of the source. @returns whether the file system could */
export function shareContent(source: FileHandle, target: FileHandle): Promise<boolean> {
  const pathOf = ({ fd }: FileHandle): string => `/proc/self/fd/${fd}`;
  return copyFile(pathOf(source), pathOf(target), constants.COPYFILE_FICLONE_FORCE).then(
    () => true,
    () => false,
  );
}

/** Choose how content is copied: by GNU cp, or by the daemon where there is no GNU cp. @param helper how programs are started */
export function createCopyContent(helper: HelperSettings): CopyContent {
  const settings = { ...helper, environment: { ...helper.environment, LC_ALL: 'C' } };
  let isGnu: Promise<boolean> | undefined;
  return async (source, target, signal) => {
    signal.throwIfAborted();
    isGnu ??= hasGnuCp(settings);
    if (await isGnu) {
      // cp gets descriptors, not paths, at which other files may lie by then. Runs of zeros become holes as well.
      await run(['cp', '--sparse=always', '--', ownEnd(0), ownEnd(1)], [source, target], settings, signal);
      await run(['sync', ownEnd(0)], [target], settings, signal);
    } else await copyChunks(source, target, signal);
    signal.throwIfAborted();
  };
}

/** A program's own descriptor as a path. */
function ownEnd(descriptor: number): string {
  return `/proc/self/fd/${descriptor}`;
}

/** Whether `cp` is GNU's: other implementations read holes, or fill them. */
async function hasGnuCp(settings: HelperSettings): Promise<boolean> {
  const asked = startHelper(['cp', '--version'], ['ignore', 'pipe', 'pipe'], settings);
  let said = '';
  const out = asked.stdio[1] as NodeJS.ReadableStream | null;
  out?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  return (await asked.ended).exitCode === 0 && said.includes('GNU coreutils');
}

async function run(
  command: Command,
  files: readonly FileHandle[],
  settings: HelperSettings,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const [first, second] = files.map(({ fd }) => fd);
  const helper = startHelper(command, [first ?? 'ignore', second ?? 'ignore', 'pipe'], settings);
  const stop = () => void helper.stop();
  signal.addEventListener('abort', stop, { once: true });
  const end = await helper.ended;
  signal.removeEventListener('abort', stop);
  signal.throwIfAborted();
  if (end.exitCode === 0) return;
  const why = end.said === '' ? end.how : end.said;
  throw Object.assign(new Error(`${command[0]}: ${why}`), { code: codeOf(end) });
}

/** The codes of the system's errors, by the texts with which programs report them. */
const codes: Readonly<Record<string, string>> = {
  'No space left on device': 'ENOSPC',
  'Disk quota exceeded': 'EDQUOT',
  'File too large': 'EFBIG',
  'Read-only file system': 'EROFS',
  'Input/output error': 'EIO',
};

function codeOf({ said, signal }: HelperEnd): string {
  if (signal === 'SIGXFSZ') return 'EFBIG';
  return Object.entries(codes).find(([text]) => said.includes(text))?.[1] ?? '';
}

async function copyChunks(source: FileHandle, target: FileHandle, signal: AbortSignal): Promise<void> {
  const { size } = await source.stat();
  const chunk = Buffer.alloc(chunkBytes);
  const zeros = Buffer.alloc(holeBytes);
  for (let position = 0; ; ) {
    signal.throwIfAborted();
    const { bytesRead } = await source.read(chunk, 0, chunkBytes, position);
    if (bytesRead === 0) break;
    for (let from = 0; from < bytesRead; from += holeBytes) {
      const piece = chunk.subarray(from, Math.min(from + holeBytes, bytesRead));
      if (!piece.equals(zeros.subarray(0, piece.length))) await writeAll(target, piece, position + from);
    }
    position += bytesRead;
  }
  await target.truncate(size);
}

async function writeAll(file: FileHandle, data: Buffer, position: number): Promise<void> {
  for (let written = 0; written < data.length; ) {
    const { bytesWritten } = await file.write(data, written, data.length - written, position + written);
    written += bytesWritten;
  }
}
