/**
 * Programs that work for the daemon beside it: how they are started, and how they are made to end.
 *
 * Each leads a process group of its own, so that what it started goes with it. A process that is stopped (SIGSTOP)
 * takes SIGKILL alone, and one that is asked to end may not listen: so the asking is bounded, and an end is an end only
 * when the process was reaped. Each carries in its environment whose helper it is; xenops/leftovers finds by that what
 * a killed daemon left.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { realpathSync } from 'node:fs';
import { PassThrough, type Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { defined } from '../defined.js';
import { messageOf } from '../errors.js';

/** A command line: a file, then its arguments. */
export type Command = readonly [string, ...string[]];

/** Settings that all helpers of a daemon have in common. */
export interface HelperSettings {
  /** Variables of the environment beyond those of the daemon. */
  readonly environment: Readonly<Record<string, string>>;
  /** Time to end when a helper is asked to, and once more after SIGTERM, in milliseconds. */
  readonly stopTimeoutMs: number;
}

/** End of a process. */
export interface HelperEnd {
  /** Exit status; absent where the process was ended by a signal, or could not be started. */
  readonly exitCode?: number;
  readonly signal?: string;
  /** Reason in words, for a message: `exited with 3`, `was ended by SIGKILL`, `cannot be started: ...`. */
  readonly how: string;
  /** The end of what it wrote to its standard error. */
  readonly said: string;
}

export interface HelperProcess {
  /** undefined where it could not be started. */
  readonly pid: number | undefined;
  /** Our ends of its descriptors, where they are pipes. */
  readonly stdio: readonly unknown[];
  /** Resolves when it is gone and reaped, and its group with it. Never rejects. */
  readonly ended: Promise<HelperEnd>;
  /** Ask it to end, where there is a way to; then SIGTERM, then SIGKILL. Resolves when it is gone. Once is enough. */
  stop(ask?: () => void): Promise<void>;
}

/** Bytes that are kept of the end of a process's standard error. */
const keptBytes = 4096;
/** Time in which the rest of the output may arrive after the end, in milliseconds. */
const drainMs = 1_000;

/** The variable that names the state directory of the daemon that a helper works for. */
export const markVariable = 'XENFERRY_HELPER_OF';

/** Make the mark by which the helpers of the daemon with this state directory, which exists, are known. */
export function helperMark(stateDir: string): Record<string, string> {
  return { [markVariable]: realpathSync(stateDir) };
}

/**
 * Start a program.
 * @param stdio as for child_process; its standard error is to be a pipe, which is read here
 */
export function startHelper(
  command: Command,
  stdio: readonly ('ignore' | 'pipe' | number)[],
  { environment, stopTimeoutMs }: HelperSettings,
): HelperProcess {
  const child = launch(command, stdio, environment);
  const pid = child instanceof Error ? undefined : child.pid;
  const ended = endOf(child);
  // Without descriptors or such a file there is a process that has neither an id nor streams.
  const streams = child instanceof Error || child.pid === undefined ? stdio.map(streamOfNone) : child.stdio;
  const endsWithin = async (ms: number): Promise<boolean> => {
    const timer = new AbortController();
    const late = delay(ms, false, { signal: timer.signal }).catch(() => false);
    return Promise.race([ended.then(() => true), late]).finally(() => timer.abort());
  };
  const end = async (ask?: () => void): Promise<void> => {
    if (pid === undefined) return void (await ended);
    if (ask !== undefined) {
      ask();
      if (await endsWithin(stopTimeoutMs)) return;
    }
    signalGroup(pid, 'SIGTERM');
    if (await endsWithin(stopTimeoutMs)) return;
    signalGroup(pid, 'SIGKILL');
    await ended;
  };
  let stopping: Promise<void> | undefined;
  return {
    pid,
    stdio: streams,
    ended,
    stop(ask) {
      stopping ??= end(ask);
      return stopping;
    },
  };
}

/** @returns the process, which tells later why it could not be started; or at once why not */
function launch(
  [file, ...args]: Command,
  stdio: readonly ('ignore' | 'pipe' | number)[],
  environment: HelperSettings['environment'],
): ChildProcess | Error {
  try {
    const child = spawn(file, args, { stdio: [...stdio], env: { ...process.env, ...environment }, detached: true });
    // Who reads or writes a pipe finds out by itself; for the others the end of the process is enough.
    if (child.pid !== undefined) for (const pipe of child.stdio) pipe?.on('error', () => undefined);
    return child;
  } catch (error) {
    return error instanceof Error ? error : new Error(messageOf(error));
  }
}

/** Make what stands for a pipe to a process that was not started: nothing comes from it. */
function streamOfNone(kind: 'ignore' | 'pipe' | number): PassThrough | null {
  return kind === 'pipe' ? new PassThrough().on('error', () => undefined).end() : null;
}

/** The pipes of a process may be held by what it started: nobody waits for those for long. */
function endOf(child: ChildProcess | Error): Promise<HelperEnd> {
  return new Promise((resolve) => {
    const notStarted = ({ message }: Error) => resolve({ how: `cannot be started: ${message}`, said: '' });
    if (child instanceof Error) return notStarted(child);
    const { pid } = child;
    child.once('error', notStarted);
    if (pid === undefined) return;
    const said = keepEnd(child.stderr);
    child.once('exit', async (exitCode, signal) => {
      signalGroup(pid, 'SIGKILL');
      await drained(child.stderr);
      resolve({
        ...defined({ exitCode: exitCode ?? undefined, signal: signal ?? undefined }),
        how: exitCode === null ? `was ended by ${signal}` : `exited with ${exitCode}`,
        said: said(),
      });
    });
  });
}

/** Wait until everything that a gone process wrote has been read, and no longer than that takes. */
export async function drained(stream: Readable | null): Promise<void> {
  if (stream === null || stream.destroyed || stream.readableEnded) return;
  const timer = new AbortController();
  const { signal } = timer;
  const over = [
    once(stream, 'close', { signal }),
    once(stream, 'end', { signal }),
    delay(drainMs, undefined, { signal }),
  ];
  await Promise.race(over.map((each) => each.catch(() => undefined)));
  timer.abort();
  stream.destroy();
}

function keepEnd(stream: Readable | null): () => string {
  let kept: Buffer = Buffer.alloc(0);
  stream?.on('data', (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk]).subarray(-keptBytes);
  });
  stream?.on('error', () => undefined);
  return () => kept.toString('utf8').trim();
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left in the group.
  }
}
