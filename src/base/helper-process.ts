/**
 * Programs that work for the daemon beside it: how they are started, and how they are made to end.
 *
 * Each leads a process group of its own, so that what it started goes with it. A process that is stopped (SIGSTOP) takes SIGKILL
 * alone, and one that is asked to end may not listen: so the asking is bounded, and an end is an end only when the process was
 * reaped. Each carries in its environment whose helper it is; xenops/leftovers finds by that what a killed daemon left.
 */
import { once } from 'node:events';
import { realpathSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';

/** A command line: a file, then its arguments. */
export type Command = readonly [string, ...string[]];

/** What all helpers of a daemon have in common. */
export interface HelperSettings {
  /** What their environment has beyond that of the daemon. */
  readonly environment: Readonly<Record<string, string>>;
  /** How long one has to end when it is asked to, and once more when it is sent SIGTERM, in milliseconds. */
  readonly stopTimeoutMs: number;
}

/** How a process ended. */
export interface HelperEnd {
  /** Its exit status; absent where it was ended by a signal, or could not be started. */
  readonly exitCode?: number;
  readonly signal?: string;
  /** In words, for a message: `exited with 3`, `was ended by SIGKILL`, `cannot be started: ...`. */
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

/** So much of what a process says on its standard error is kept, in bytes. */
const keptBytes = 4096;
/** So long the rest of its output may take to arrive after its end. */
const drainMs = 1_000;

/** The variable that names the state directory of the daemon that a helper works for. */
export const markVariable = 'XENFERRY_HELPER_OF';

/** By what the helpers of the daemon with this state directory, which exists, are known. */
export function helperMark(stateDir: string): Record<string, string> {
  return { [markVariable]: realpathSync(stateDir) };
}

/**
 * Start a program.
 * @param stdio as for child_process; its standard error is to be a pipe, which is read here
 */
export function startHelper(
  [file, ...args]: Command,
  stdio: readonly ('ignore' | 'pipe' | number)[],
  { environment, stopTimeoutMs }: HelperSettings,
): HelperProcess {
  const child = execa(file, args, {
    stdio: stdio as never,
    env: { ...environment },
    ...{ buffer: false, detached: true, cleanup: false, reject: false },
  });
  const { pid } = child;
  const said = keepEnd(child.stderr as unknown as Readable | null);
  const started = pid === undefined ? undefined : endOf(child as never, pid, said);
  const ended =
    started ??
    child.then(({ originalMessage, shortMessage }) => ({
      how: `cannot be started: ${originalMessage ?? shortMessage}`,
      said: '',
    }));
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
    ...{ pid, stdio: child.stdio as unknown as readonly unknown[], ended },
    stop(ask) {
      stopping ??= end(ask);
      return stopping;
    },
  };
}

interface Child {
  readonly stderr: Readable | null;
  once(event: 'exit', listener: (exitCode: number | null, signal: string | null) => void): unknown;
}

/** The pipes of a process may be held by what it started: nobody waits for those for long. */
function endOf(child: Child, pid: number, said: () => string): Promise<HelperEnd> {
  return new Promise((resolve) => {
    child.once('exit', async (exitCode, signal) => {
      signalGroup(pid, 'SIGKILL');
      await drained(child.stderr);
      resolve({
        ...(exitCode === null ? {} : { exitCode }),
        ...(signal === null ? {} : { signal }),
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
    // Nobody is left in it.
  }
}
