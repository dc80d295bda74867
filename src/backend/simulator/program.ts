/** Reaching the simulated hypervisor of a state directory: attach to the one that runs there, else start one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { XapiError } from '../../base/errors.js';
import { openLogFile } from '../../base/named-file.js';
import { markVariable } from '../../base/process/helper-process.js';
import { alreadyRunsStatus, socketPathLimit } from '../../base/protocol/hypervisor-protocol.js';
import { connectHypervisor, type HypervisorClient, type RequestTimeouts } from './client.js';

export interface HypervisorInit {
  /** A directory of this host's own; the socket, the log and the lock live there. Made when it is not there. */
  readonly stateDir: string;
  /** Bytes that all domains together may have. A hypervisor that runs already keeps what it was started with. */
  readonly memoryBytes: number;
  /** Where guest memory may go, best first; /dev/shm, then the state directory when absent. */
  readonly memoryDirs?: readonly string[];
  /** How long it may take to answer a request, in milliseconds; for ever where absent. */
  readonly timeouts?: RequestTimeouts;
  /** Gets the process id of each that is started, before anything is known of it. */
  readonly onStarted?: (pid: number) => void;
}

const program = fileURLToPath(new URL('../../hypervisor/main.js', import.meta.url));
const startDeadlineMs = 15_000;
/** So long one that is not wanted has to end in order. */
const endGraceMs = 2_000;

/** Where the hypervisor of a state directory listens. @throws INVALID_VALUE when the path is too long for a socket */
export function socketPathOf(stateDir: string): string {
  const socketPath = path.join(path.resolve(stateDir), 'hypervisor.sock');
  if (Buffer.byteLength(socketPath) <= socketPathLimit) return socketPath;
  const why = `${socketPath}: the path of a Unix socket has at most ${socketPathLimit} bytes`;
  throw new XapiError('INVALID_VALUE', ['state directory', why]);
}

/** The connection to a hypervisor. */
export interface Attached {
  readonly client: HypervisorClient;
  /** Ends the hypervisor, where it was started for this; resolves when its process is gone. */
  readonly end?: () => Promise<void>;
}

/**
 * Attach as the daemon, starting the hypervisor where none listens. It gets a process group of its own and its output goes to
 * hypervisor.log in the state directory, so that it outlives this process.
 * @throws INTERNAL_ERROR when it cannot be started
 */
export async function attachOrStart(init: HypervisorInit): Promise<Attached> {
  const socketPath = socketPathOf(init.stateDir);
  const deadline = performance.now() + startDeadlineMs;
  let child: ChildProcess | undefined;
  for (;;) {
    try {
      const client = await connectHypervisor(socketPath, 'daemon', init.timeouts);
      if (child?.pid === client.pid) return { client, end: () => discard(child) };
      await discard(child);
      return { client };
    } catch (error) {
      if (!isNobodyThere(error) || performance.now() > deadline) {
        await discard(child);
        throw error;
      }
    }
    // Another one that held the lock a moment ago may be on its way in, or out: look again, then try again.
    if (child === undefined || child.exitCode === alreadyRunsStatus) child = start(init, socketPath);
    else if (child.exitCode !== null || child.signalCode !== null) throw ended(child, init.stateDir);
    await delay(20);
  }
}

function start({ stateDir, memoryBytes, memoryDirs, onStarted }: HypervisorInit, socketPath: string): ChildProcess {
  fs.mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const state = path.resolve(stateDir);
  const directories = (memoryDirs ?? []).flatMap((directory) => ['--memory-dir', path.resolve(directory)]);
  const log = openLogFile(logPathOf(state), 0o600);
  const argv = ['--socket', socketPath, '--state', state, '--memory', String(memoryBytes), '--log', logPathOf(state)];
  // It is no helper of a daemon, whoever started this one.
  const { [markVariable]: _mark, ...env } = process.env;
  const child = spawn(process.execPath, [program, ...argv, ...directories], {
    ...{ cwd: '/', detached: true, env, stdio: ['ignore', log, log] },
  });
  fs.closeSync(log);
  child.on('error', () => {});
  child.unref();
  if (child.pid !== undefined) onStarted?.(child.pid);
  return child;
}

/**
 * One that is not attached to must not come up late: another was faster, or nobody waits for it any more. One that does not answer
 * may not end by itself either.
 */
async function discard(child: ChildProcess | undefined): Promise<void> {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.ref();
  const exit = once(child, 'exit');
  child.kill();
  const insist = setTimeout(() => child.kill('SIGKILL'), endGraceMs);
  await exit;
  clearTimeout(insist);
}

function logPathOf(stateDir: string): string {
  return path.join(stateDir, 'hypervisor.log');
}

function ended(child: ChildProcess, stateDir: string): XapiError {
  const how = child.signalCode ?? `status ${child.exitCode}`;
  const text = `the hypervisor ended with ${how} when it was started; ${logPathOf(path.resolve(stateDir))} says why`;
  return new XapiError('INTERNAL_ERROR', [text]);
}

function isNobodyThere(error: unknown): boolean {
  const code = ((error as XapiError).cause as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOENT' || code === 'ECONNREFUSED';
}
