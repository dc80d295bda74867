/**
 * Directories whose disk is full for a process: on a tmpfs of their own, where these tests may mount one, and by a limit of how
 * long the process's files can be, which everybody may set.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

export interface FullDisk {
  /** An empty directory. */
  readonly path: string;
  /** Beginning of a command line by which a program finds so little space there. */
  readonly prefix: () => readonly string[];
  /** Leave no space for a process that runs. */
  fill(pid: number): void;
  /** Give so much space, in all or for each file, to what is started from now on, and to a process that runs. */
  resize(bytes: number, pid?: number): void;
  close(): void;
}

export interface DiskKind {
  readonly name: string;
  /**
   * @param bytes that are there at first: in all, or for each file
   * @param files that a file system of its own can have, itself included
   */
  open(parent: string, bytes: number, files?: number): FullDisk;
}

function makeDirectory(parent: string): string {
  return fs.mkdtempSync(path.join(parent, 'disk-'));
}

const tmpfs: DiskKind = {
  name: 'a full file system',
  open(parent, bytes, files = 0) {
    const at = makeDirectory(parent);
    const filler = path.join(at, 'filler');
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},nr_inodes=${files},mode=700`, 'xenferry-test', at]);
    return {
      path: at,
      prefix: () => [],
      fill: () => fillUp(filler),
      resize(to) {
        fs.rmSync(filler, { force: true });
        execFileSync('mount', ['-o', `remount,size=${to}`, at]);
      },
      close: () => void execFileSync('umount', ['-l', at]),
    };
  },
};

const fileLimit: DiskKind = {
  name: 'a limit of the length of files',
  open(parent, bytes) {
    const at = makeDirectory(parent);
    let limit = bytes;
    const option = () => `--fsize=${limit}:unlimited`;
    const resize = (to: number, pid?: number): void => {
      limit = to;
      if (pid !== undefined) execFileSync('prlimit', ['--pid', String(pid), option()]);
    };
    return {
      path: at,
      prefix: () => ['prlimit', option()],
      fill: (pid) => resize(longestFile(at), pid),
      resize,
      close: () => undefined,
    };
  },
};

/** Kinds of full disks that can be had here. */
export function diskKinds(): readonly DiskKind[] {
  return [tmpfsKind() ?? [], fileLimit].flat();
}

/** Directory in which a file system may be mounted. */
export function tmpfsKind(): DiskKind | undefined {
  const at = fs.mkdtempSync('/tmp/xenferry-mount-');
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4096', 'xenferry-test', at]).status === 0;
  if (mounted) execFileSync('umount', [at]);
  fs.rmdirSync(at);
  return mounted ? tmpfs : undefined;
}

/** Bytes until there is room for none. */
export function fillUp(file: string): void {
  const fd = fs.openSync(file, 'w');
  try {
    for (;;) fs.writeSync(fd, Buffer.alloc(1 << 16));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    fs.closeSync(fd);
  }
}

function longestFile(at: string): number {
  const files = fs
    .readdirSync(at, { recursive: true, encoding: 'utf8' })
    .map((name) => fs.statSync(path.join(at, name)));
  return Math.max(...files.filter((each) => each.isFile()).map(({ size }) => size));
}
