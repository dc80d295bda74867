/**
 * A QEMU process of one domain: started in a process group of its own, so that it outlives the daemon, and found again by the
 * directory of its domain.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { XapiError } from '../../base/errors.js';
import { markVariable } from '../../base/process/helper-process.js';
import { identityOf, isAlive, type ProcessIdentity } from '../../base/process/process-identity.js';
import type { DomainPaths, OpenedFile } from './command-line.js';
import { connectQmp, type Qmp } from './qmp.js';

/** Whom a domain's process runs as; the daemon's own user where absent. */
export interface DomainUser {
  readonly uid: number;
  readonly gid: number;
}

export interface Started {
  readonly process: ProcessIdentity;
  readonly qmp: Qmp;
}

/** How long QEMU has to come up, and to answer the first time. */
const startTimeoutMs = 30_000;
const saidBytes = 2048;
const pollMs = 5;

/**
 * Start QEMU and connect to it.
 * @param files what it gets as descriptors, from 3 on
 * @throws INTERNAL_ERROR with what it says where it ends before it serves; nothing is left of it then
 */
export async function startQemu(
  program: string,
  argv: readonly string[],
  paths: DomainPaths,
  files: readonly OpenedFile[],
  user?: DomainUser,
): Promise<Started> {
  if (user !== undefined) fs.chownSync(paths.directory, user.uid, user.gid);
  for (const socket of [paths.daemon, paths.helper, paths.serial, paths.vnc]) fs.rmSync(socket, { force: true });
  const opened: number[] = [];
  // It is no helper of a daemon: it outlives the one that started it.
  const { [markVariable]: _mark, ...env } = process.env;
  let child: ChildProcess;
  try {
    const log = fs.openSync(paths.log, 'a', 0o600);
    opened.push(log);
    for (const file of files) opened.push(openFile(file));
    const stdio: StdioOptions = ['ignore', log, log, ...opened.slice(1)];
    child = spawn(program, argv, { cwd: '/', detached: true, env, stdio, ...user });
  } finally {
    for (const fd of opened) fs.closeSync(fd);
  }
  const gone = new AbortController();
  const how = once(child, 'exit').then(
    ([status, signal]) => signal ?? `status ${status}`,
    (error: Error) => error.message,
  );
  let isUp = false;
  void how.then((text) => {
    if (!isUp) gone.abort(new XapiError('INTERNAL_ERROR', [`QEMU ended with ${text}: ${endOf(paths.log)}`]));
  });
  child.unref();
  try {
    const qmp = await connectQmp(paths.daemon, startTimeoutMs, gone.signal);
    isUp = true;
    return { process: identityOf(child.pid as number) as ProcessIdentity, qmp };
  } catch (error) {
    child.kill('SIGKILL');
    await how;
    gone.signal.throwIfAborted();
    throw error;
  }
}

/**
 * The process of a domain that was started before. @returns undefined where it is gone, and where the process is another one now
 * @param uuid with which it was started
 * @throws INTERNAL_ERROR where it lives and does not serve
 */
export async function findQemu(paths: DomainPaths, uuid: string): Promise<Started | undefined> {
  const pid = readPid(paths.pid);
  const process = pid === undefined ? undefined : identityOf(pid);
  if (process === undefined || !isQemuOf(process.pid, paths)) return undefined;
  const qmp = await connectQmp(paths.daemon, startTimeoutMs);
  const { UUID } = await qmp.execute<{ UUID: string }>('query-uuid');
  if (UUID === uuid) return { process, qmp };
  qmp.close();
  return undefined;
}

/** End it by force; returns when it is gone. Fine where it is gone already. */
export async function endQemu(identity: ProcessIdentity): Promise<void> {
  while (isAlive(identity) === true) {
    try {
      process.kill(identity.pid, 'SIGKILL');
    } catch {
      // Gone in between.
    }
    await delay(pollMs);
  }
}

function openFile({ path, writable }: OpenedFile): number {
  return fs.openSync(path, fs.constants.O_NOFOLLOW | (writable ? fs.constants.O_RDWR : fs.constants.O_RDONLY));
}

function readPid(file: string): number | undefined {
  try {
    const pid = Number(fs.readFileSync(file, 'latin1').trim());
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a process was started with a domain's own files: process ids are given again. */
function isQemuOf(pid: number, paths: DomainPaths): boolean {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(paths.pid);
  } catch {
    return false;
  }
}

function endOf(file: string): string {
  const text = fs.readFileSync(file, 'utf8');
  return text.slice(-saidBytes).trim();
}
