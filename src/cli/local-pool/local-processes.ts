/** The processes of a local host, found by its directory alone, and their end. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { readTextFile } from '../../base/named-file.js';
import { identityOf, isAlive } from '../../base/process/process-identity.js';

/** Time in which a process ends, in seconds; SIGKILL follows. */
export const endSeconds = 15;

/** The file with the process id of a host's daemon. */
export function pidfileOf(directory: string): string {
  return join(directory, 'xenferryd.pid');
}

/** The configuration of a host. */
export function configOf(directory: string): string {
  return join(directory, 'xenopsd.conf');
}

/** Count the processes of a host that run: its daemon, its hypervisor, its QEMUs. */
export function countProcesses(directory: string): number {
  return [daemonOf(directory), hypervisorOf(directory), ...qemusOf(directory)].filter((one) => one !== undefined)
    .length;
}

/** End the daemon of a host, then its hypervisor with its domains; returns when both are gone. */
export async function endHost(directory: string): Promise<void> {
  await end(daemonOf(directory));
  await endHypervisor(directory);
}

/** The hypervisor outlives its daemon, and so do QEMUs; SIGTERM ends them with their domains. Returns when they are gone. */
export async function endHypervisor(directory: string): Promise<void> {
  await Promise.all([hypervisorOf(directory), ...qemusOf(directory)].map(end));
}

function daemonOf(directory: string): number | undefined {
  return processIn(pidfileOf(directory), '--config', configOf(directory));
}

function hypervisorOf(directory: string): number | undefined {
  return processIn(join(directory, 'hypervisor.pid'), '--state', directory);
}

/** The process of each domain of the back end `qemu`. */
function qemusOf(directory: string): (number | undefined)[] {
  const root = join(directory, 'qemu');
  return domainsIn(root).map((domid) => {
    const file = join(root, domid, 'pid');
    return processIn(file, '-pidfile', file);
  });
}

function domainsIn(root: string): string[] {
  try {
    return readdirSync(root);
  } catch {
    return [];
  }
}

/**
 * The process id in a file, if that process has been started with this option: the system may have given the number to another
 * one since.
 */
function processIn(file: string, option: string, value: string): number | undefined {
  try {
    const pid = Number.parseInt(readTextFile(file), 10);
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return words[words.indexOf(option) + 1] === value ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** A daemon removes its file a moment before it is gone, so from here on its start tells it from others. */
async function end(pid: number | undefined): Promise<void> {
  const identity = pid === undefined ? undefined : identityOf(pid);
  if (identity === undefined) return;
  const limit = performance.now() + endSeconds * 1000;
  for (tell(identity.pid, 'SIGTERM'); isAlive(identity) === true; await delay(20)) {
    if (performance.now() > limit) tell(identity.pid, 'SIGKILL');
  }
}

function tell(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // The process is gone.
  }
}
