/**
 * Helpers that an earlier run of the daemon left. Helpers end by themselves when their channels do, unless they are stopped or
 * their peer stalls. A daemon that starts ends them before it looks at anything else, as they may still move memory.
 *
 * A leftover is known by its environment, which names the state directory that it works for. A journal of process ids would
 * miss a process that was started and not yet written down, and would have to tell it from a later one of the same id.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { XapiError } from '../base/errors.js';

const pollMs = 10;
const timeoutMs = 10_000;

/**
 * Kill the helpers with this mark (see base/helper-process), and wait until they are gone.
 * @returns how many there were
 * @throws INTERNAL_ERROR when one does not go within ten seconds, as one that hangs in the kernel
 */
export async function endLeftovers(mark: Readonly<Record<string, string>>): Promise<number> {
  const found = new Set<number>();
  for (const limit = performance.now() + timeoutMs; ; ) {
    const left = killMarked(mark);
    for (const pid of left) found.add(pid);
    if (left.length === 0) return found.size;
    if (performance.now() > limit) throw new XapiError('INTERNAL_ERROR', [`helper processes do not end: ${left}`]);
    await delay(pollMs);
  }
}

/** Kill the helpers with this mark, without waiting. @returns their process ids; a zombie is gone already */
export function killMarked(mark: Readonly<Record<string, string>>): number[] {
  const wanted = Object.entries(mark).map(([name, value]) => `${name}=${value}`);
  const pids = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && isMarked(pid, wanted));
  for (const pid of pids) kill(pid);
  return pids;
}

/** Whether a process has the mark; false for a process of another user, or one that has just gone. */
function isMarked(pid: number, wanted: readonly string[]): boolean {
  try {
    if (statSync(`/proc/${pid}`).uid !== process.geteuid?.()) return false;
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    return wanted.every((entry) => environment.includes(entry));
  } catch {
    return false;
  }
}

/** Kill a process, with its group where it leads one. */
function kill(pid: number): void {
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, 'SIGKILL');
    } catch {
      // The process leads no group, or is gone.
    }
  }
}
