/** Processes of this machine. */
import { existsSync, readFileSync } from 'node:fs';

/** Neither gone nor waiting for its parent to take note. */
export function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}
