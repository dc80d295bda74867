/** What processes have used, as /proc tells it (proc(5)): CPU time of whole trees, and peaks of memory. */
import fs from 'node:fs';

/** Line of `/proc/PID/stat`, as far as it counts here. */
export interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  /** CPU time of its own threads, in ticks of a hundredth of a second. */
  readonly ownTicks: number;
  /** CPU time of its children that have ended and were waited for, and of theirs. */
  readonly reapedTicks: number;
}

const ticksPerSecond = 100;

/** @param text of `/proc/PID/stat`; the program's name in it may hold spaces and parentheses */
export function parseStat(text: string): ProcessStat {
  const nameEnd = text.lastIndexOf(')');
  const fields = text.slice(nameEnd + 2).split(' ');
  const number = (index: number) => Number(fields[index]);
  return {
    pid: Number.parseInt(text, 10),
    parent: number(1),
    ownTicks: number(11) + number(12),
    reapedTicks: number(13) + number(14),
  };
}

/** All processes of this machine. */
export function readProcesses(): ProcessStat[] {
  const pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    const text = readIfThere(`/proc/${pid}/stat`);
    return text === undefined ? [] : [parseStat(text)];
  });
}

/**
 * The processes of trees: their roots, the roots' children, and so on.
 * @param leftOut process ids that are not followed, nor what they started
 */
export function treesOf(
  processes: readonly ProcessStat[],
  roots: readonly number[],
  leftOut: readonly number[],
): ProcessStat[] {
  const found = processes.filter(({ pid }) => roots.includes(pid) && !leftOut.includes(pid));
  if (found.length === 0) return [];
  const children = processes.filter(({ parent }) => found.some(({ pid }) => pid === parent)).map(({ pid }) => pid);
  return [...found, ...treesOf(processes, children, leftOut)];
}

/** CPU time that processes and their reaped children have used, in seconds. */
export function cpuSeconds(processes: readonly ProcessStat[]): number {
  return processes.reduce((sum, { ownTicks, reapedTicks }) => sum + ownTicks + reapedTicks, 0) / ticksPerSecond;
}

/** CPU time of this process's children that have ended and were waited for, and of theirs, in seconds. */
export function reapedSeconds(): number {
  return parseStat(fs.readFileSync('/proc/self/stat', 'utf8')).reapedTicks / ticksPerSecond;
}

/** CPU time that a process's threads have used, in seconds, to the nanosecond; a thread that has ended is not in it. */
export function threadSeconds(pid: number): number {
  const threads = fs.readdirSync(`/proc/${pid}/task`);
  const nanoseconds = threads.map((thread) =>
    Number.parseInt(readIfThere(`/proc/${pid}/task/${thread}/schedstat`) ?? '0', 10),
  );
  return nanoseconds.reduce((sum, value) => sum + value, 0) / 1e9;
}

/** The children of a process that runs now. */
export function childrenOf(pid: number): number[] {
  const text = readIfThere(`/proc/${pid}/task/${pid}/children`);
  return text === undefined
    ? []
    : text
        .split(' ')
        .filter((word) => word !== '')
        .map(Number);
}

/** The most memory that a process has had so far, in bytes; undefined where it is gone. */
export function peakBytes(pid: number): number | undefined {
  const kibibytes = /^VmHWM:\s*(\d+) kB$/m.exec(readIfThere(`/proc/${pid}/status`) ?? '')?.[1];
  return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
}

function readIfThere(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
