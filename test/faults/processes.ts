/** What /proc says of the processes of one host: the daemon and all that it has started, whoever their parent is by now. */
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** The environment variable that marks every process of a host; its value is the host's directory. */
export const hostMark = 'XENFERRY_FAULTS_HOST';

export type ProcessKind = 'daemon' | 'hypervisor' | 'qemu' | 'emu-manager' | 'zstd' | 'other';

export interface HostProcess {
  readonly pid: number;
  readonly kind: ProcessKind;
  readonly command: string;
}

/** Every living process that was started by the daemons of the host with this directory. Zombies have no environment. */
export function processesOf(directory: string): HostProcess[] {
  const mark = `${hostMark}=${directory}\0`;
  return pids().flatMap((pid) => {
    if (!`\0${read(`/proc/${pid}/environ`)}`.includes(`\0${mark}`)) return [];
    const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim();
    return command === '' ? [] : [{ pid, kind: kindOf(command), command }];
  });
}

function kindOf(command: string): ProcessKind {
  if (/ -qmp | -mon /.test(command)) return 'qemu';
  if (/emu-manager/.test(command.replace(/--\S+/g, ''))) return 'emu-manager';
  if (/\bzstd\b/.test(command)) return 'zstd';
  if (/src\/hypervisor\/main\.js/.test(command)) return 'hypervisor';
  if (/src\/main\.js/.test(command)) return 'daemon';
  return 'other';
}

/** The children of a process that have ended and that it has not taken note of. */
export function zombiesOf(parent: number): number[] {
  return pids().filter((pid) => {
    const [, state, by] = /\) (\S) (\d+)/.exec(read(`/proc/${pid}/stat`)) ?? [];
    return state === 'Z' && Number(by) === parent;
  });
}

/** The sockets that a process holds: connected ones of TCP, and all of the Unix kind, socket pairs among them. */
export function socketsOf(pid: number): { readonly tcp: number; readonly unix: number } {
  const inodes = new Set<string>();
  for (const fd of list(`/proc/${pid}/fd`)) {
    const inode = /^socket:\[(\d+)\]$/.exec(link(`/proc/${pid}/fd/${fd}`))?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  const held = (file: string, column: number) =>
    read(file)
      .split('\n')
      .filter((line) => inodes.has(line.trim().split(/\s+/)[column] ?? '')).length;
  return { tcp: held('/proc/net/tcp', 9) + held('/proc/net/tcp6', 9), unix: held('/proc/net/unix', 6) };
}

/** Whether a process is there and no zombie. */
export function lives(pid: number): boolean {
  return /\) [^ZX]/.test(read(`/proc/${pid}/stat`));
}

/** Send a signal; a process that is gone already is none the worse. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It is gone.
  }
}

/** Ask again until there is an answer. @throws what was not there within the time */
export async function until<T>(
  what: string,
  timeoutMs: number,
  ask: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  for (const limit = Date.now() + timeoutMs; ; ) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (Date.now() > limit) throw new Error(`${what}: not within ${timeoutMs / 1000} s`);
    await delay(15);
  }
}

function pids(): number[] {
  return list('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}

function list(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch {
    return [];
  }
}

function link(file: string): string {
  try {
    return fs.readlinkSync(file);
  } catch {
    return '';
  }
}
