/** What a fault rule of the action `kill` does: a signal to a process that takes part in a migration. */
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { FaultPlace } from '../../migrate/faults.js';
import type { FaultRule, Target } from './arguments.js';

export interface KillDeps {
  /** The process that owns the domains; undefined where there is no such process. */
  readonly hypervisorPid: () => Promise<number | undefined>;
  /** Send a signal to a process; process.kill where absent. */
  readonly kill?: (pid: number, signal: NodeJS.Signals) => void;
}

/** Send the signal. @returns whether there was a process to send it to */
export async function killTarget(
  { hypervisorPid, kill = process.kill }: KillDeps,
  { target, signal }: Extract<FaultRule, { action: 'kill' }>,
  place: FaultPlace,
  log: Log,
): Promise<boolean> {
  const pids = await processesOf(target, place, hypervisorPid);
  if (pids.length === 0) {
    log.warn(`fault rule: no ${target} runs for the migration, so none is killed`);
    return false;
  }
  log.warn(`fault rule: ${signal} to ${target}`, { pids: pids.join(',') });
  // Let the log be written before a signal may end the daemon itself.
  await setImmediate();
  for (const pid of pids) {
    try {
      kill(pid, signal);
    } catch (error) {
      log.warn(`fault rule: process ${pid} had ended: ${messageOf(error)}`);
    }
  }
  return true;
}

async function processesOf(
  target: Target,
  { helpers }: FaultPlace,
  hypervisorPid: KillDeps['hypervisorPid'],
): Promise<number[]> {
  if (target === 'daemon') return [process.pid];
  if (target === 'hypervisor') return [await hypervisorPid()].filter((pid) => pid !== undefined);
  return helpers.filter(({ name, pid }) => name === target && isOurs(pid)).map(({ pid }) => pid);
}

/** Whether a process is a living child of this one: the id of a child that has ended may be another's by now. */
function isOurs(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state !== 'Z' && Number(parent) === process.pid;
  } catch {
    return false;
  }
}
