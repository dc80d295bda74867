/** Who a process is, so that a process id that the system has given to another one is not taken for it. */
import fs from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** Start of the process, in the system's clock ticks since boot. */
  readonly started: string;
  /** The pid namespace in which the process id means something. */
  readonly namespace: string;
}

/** The identity of this process. */
export function ownIdentity(): ProcessIdentity {
  return { pid: process.pid, started: startOf(process.pid) ?? '', namespace: ownNamespace() };
}

/** The identity of a process by its id; undefined when there is no such process, or only a zombie of it. */
export function identityOf(pid: number): ProcessIdentity | undefined {
  const started = startOf(pid);
  return started === undefined ? undefined : { pid, started, namespace: ownNamespace() };
}

/** Tell whether a process lives; `unknown` when it belongs to another pid namespace. */
export function isAlive(identity: ProcessIdentity): boolean | 'unknown' {
  if (identity.namespace !== ownNamespace()) return 'unknown';
  return startOf(identity.pid) === identity.started;
}

function ownNamespace(): string {
  return fs.readlinkSync('/proc/self/ns/pid');
}

/** Field 22 of /proc/<pid>/stat (proc(5)); undefined when there is no such process, or only a zombie of it. */
function startOf(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
