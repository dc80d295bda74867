/**
 * Copies of volumes that stand still until a test lets them go on: a `cp` in PATH that stops itself, with part of the
 * content written.
 */
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export interface HeldCopies {
  /** Variables for the environment of a daemon. */
  readonly path: string;
  /** Resolves when so many copies have begun and stand still. */
  held(count?: number): Promise<void>;
  /** Let those that stand still go on. */
  release(): void;
  /** The process ids of those that have begun. */
  pids(): number[];
  close(): void;
}

const program = (dir: string, cp: string) => `#!/bin/sh
if [ "$1" = --version ]; then exec ${cp} --version; fi
dd bs=65536 count=16 iflag=fullblock status=none
: > ${dir}/$$
kill -STOP $$
exec ${cp} "$@"
`;

/** Put such a `cp` first into PATH of this process too, until it is closed. */
export function holdCopies(): HeldCopies {
  const dir = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-cp-'));
  const begun = path.join(dir, 'begun');
  fs.mkdirSync(begun);
  const before = process.env.PATH ?? '';
  fs.writeFileSync(path.join(dir, 'cp'), program(begun, findCp(before)), { mode: 0o755 });
  const searchPath = `${dir}:${before}`;
  process.env.PATH = searchPath;
  const pids = () => fs.readdirSync(begun).map(Number);
  return {
    path: searchPath,
    async held(count = 1) {
      while (pids().filter(isStopped).length < count) await delay(5);
    },
    release() {
      for (const pid of pids().filter(isStopped)) process.kill(pid, 'SIGCONT');
    },
    pids,
    close() {
      process.env.PATH = before;
      fs.rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A `cp` of another make stands first in PATH of this process, until it is closed. */
export function otherCp(): { close(): void } {
  const dir = fs.mkdtempSync(path.join(tmpdir(), 'xenferry-cp-'));
  fs.writeFileSync(path.join(dir, 'cp'), '#!/bin/sh\necho BusyBox\nexit 1\n', { mode: 0o755 });
  const before = process.env.PATH ?? '';
  process.env.PATH = `${dir}:${before}`;
  return {
    close() {
      process.env.PATH = before;
      fs.rmSync(dir, { recursive: true, force: true });
    },
  };
}

function findCp(searchPath: string): string {
  const found = searchPath.split(':').map((dir) => path.join(dir, 'cp'));
  return found.find((file) => fs.existsSync(file)) ?? 'cp';
}

/** Tell whether a process stands still. */
function isStopped(pid: number): boolean {
  try {
    return /\) T /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
