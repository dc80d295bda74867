/**
 * Run an emu-manager process: its command line, and the daemon's side of its control protocol (base/emu-protocol).
 *
 * The process reads and writes guest memory on descriptors that it is handed; only control lines come by here. Its `result:` is
 * success, not its exit status: after `abort` it exits with 0 and no result.
 */
import type { Duplex } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import {
  createLineDecoder,
  decodeMessage,
  type Emu,
  type EmuCommand,
  type EmuMessage,
  encodeCommand,
  parseStatistics,
  type SaveStatistics,
} from '../base/emu-protocol.js';
import { messageOf, XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';

/** How the program is started: a file, and what comes before its own arguments. */
export type EmuProgram = readonly [string, ...string[]];

export interface EmuInit {
  readonly program: EmuProgram;
  /** What it needs to reach the domain, from the back end. */
  readonly environment: Readonly<Record<string, string>>;
  readonly domid: number;
  /** The memory stream's descriptor, in blocking mode. */
  readonly fd: number;
  /** The vGPUs' descriptors, in blocking mode. */
  readonly vgpus: readonly { readonly device: string; readonly fd: number }[];
  /** Aborts the process. */
  readonly signal: AbortSignal;
  readonly log: Log;
  /** @param percent 0 to 100 */
  onProgress(percent: number): void;
  onStarted?(pid: number): void;
}

export interface EmuSaveInit extends EmuInit {
  readonly live: boolean;
  /** Arguments beyond those that every save has. */
  readonly flags: readonly string[];
  /** The helper is about to write a stream: write the header before it. */
  onPrepare(emu: Emu): Promise<void>;
  /** The live phase has converged: pause the domain. */
  onSuspend(): Promise<void>;
}

export interface EmuRestoreInit extends EmuInit {
  /** The memory stream is about to be read. */
  beforeMemory?(): Promise<void>;
  /** Read the headers before the vGPUs' streams. */
  beforeVgpu(): Promise<void>;
}

/** After `abort` a process has so long to exit by itself. */
const abortGraceMs = 2_000;
const supportsTimeoutMs = 10_000;
/** Descriptors in the child: 0 to 2 as usual, then control in and out, memory, vGPUs. */
const controlIn = 3;
const controlOut = 4;
const firstStream = 5;

const builtIn = fileURLToPath(new URL('../emu-manager/main.js', import.meta.url));

/** @param path the configured program; '' for the one that comes with xenferry */
export function emuProgram(path: string): EmuProgram {
  return path === '' ? [process.execPath, builtIn] : [path];
}

/** Whether the program supports a feature: it prints true. A program that cannot say does not. */
export async function emuSupports(program: EmuProgram, feature: string): Promise<boolean> {
  const [file, ...before] = program;
  const result = await execa(file, [...before, '-supports', feature], {
    reject: false,
    stdin: 'ignore',
    timeout: supportsTimeoutMs,
  });
  return result.exitCode === 0 && result.stdout.trim() === 'true';
}

/** Save a domain. @returns the arguments that the program got, and its statistics where it gave some */
export async function runEmuSave(
  init: EmuSaveInit,
): Promise<{ readonly argv: readonly string[]; readonly statistics: Partial<SaveStatistics> }> {
  let statistics: Partial<SaveStatistics> = {};
  let saved = false;
  const argv = [...commonArguments(init, 'hvm_save'), '-live', String(init.live), ...init.flags];
  await converse(init, argv, async (message, tell) => {
    if (message.kind === 'prepare') {
      await init.onPrepare(message.emu);
      await tell({ kind: 'done' });
    } else if (message.kind === 'suspend') {
      await init.onSuspend();
      await tell({ kind: 'done' });
    } else if (message.kind === 'stdout') {
      statistics = parseStatistics(message.text) ?? statistics;
    } else if (message.kind === 'result') {
      saved = message.result.of === 'save';
    }
  });
  if (!saved) throw new XapiError('INTERNAL_ERROR', ['emu-manager ended without a result']);
  return { argv, statistics };
}

/** Restore a building domain. */
export async function runEmuRestore(init: EmuRestoreInit): Promise<void> {
  const awaited = new Set<string>(['xenguest', ...(init.vgpus.length === 0 ? [] : ['vgpu'])]);
  const opening = async (tell: Tell) => {
    await init.beforeMemory?.();
    await tell({ kind: 'restore', emu: 'xenguest' });
    if (!awaited.has('vgpu')) return;
    await init.beforeVgpu();
    await tell({ kind: 'restore', emu: 'vgpu' });
  };
  const onMessage: OnMessage = async (message) => {
    if (message.kind === 'result') awaited.delete(message.result.of);
  };
  await converse(init, commonArguments(init, 'hvm_restore'), onMessage, opening);
  if (awaited.size > 0)
    throw new XapiError('INTERNAL_ERROR', [`emu-manager ended without a result of ${[...awaited].join(', ')}`]);
}

function commonArguments(init: EmuInit, mode: string): string[] {
  return [
    ...['-controlinfd', String(controlIn), '-controloutfd', String(controlOut)],
    ...['-fd', String(firstStream), '-mode', mode, '-domid', String(init.domid)],
    ...init.vgpus.flatMap((_, index) => ['-dm', `vgpu:${firstStream + 1 + index}`]),
  ];
}

type Tell = (command: EmuCommand) => Promise<void>;
type OnMessage = (message: EmuMessage, tell: Tell) => Promise<void>;

/** Start the process and follow it to its end. @throws what it reports, what a handler throws, or the signal's reason */
async function converse(
  init: EmuInit,
  argv: readonly string[],
  onMessage: OnMessage,
  opening?: (tell: Tell) => Promise<void>,
): Promise<void> {
  const [file, ...before] = init.program;
  const streams = [init.fd, ...init.vgpus.map(({ fd }) => fd)];
  if (streams.some((fd) => fd < 0)) throw new XapiError('INTERNAL_ERROR', ['the connection is closed']);
  const child = execa(file, [...before, ...argv], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', ...streams] as never,
    buffer: { fd3: false, fd4: false },
    maxBuffer: { stderr: 64 * 1024 },
    env: { ...init.environment },
    detached: true,
    cleanup: false,
    reject: false,
  });
  if (child.pid !== undefined) init.onStarted?.(child.pid);
  const input = child.stdio[controlIn] as unknown as Duplex;
  const output = child.stdio[controlOut] as unknown as Duplex;
  input.on('error', () => undefined);
  input.resume();
  // A program that is gone cannot be told; how it ended says more.
  const tell: Tell = (command) => new Promise((resolve) => input.write(encodeCommand(command), () => resolve()));
  let failure: unknown;
  const stop = async (reason: unknown) => {
    if (failure !== undefined) return;
    failure = reason;
    await tell({ kind: 'abort' });
    await Promise.race([child, setTimeout(abortGraceMs)]);
    child.kill('SIGKILL');
  };
  const onAbort = () => void stop(init.signal.reason);
  init.signal.addEventListener('abort', onAbort);
  if (init.signal.aborted) onAbort();
  try {
    opening?.(tell).catch(stop);
    await follow(output, init, (message) => onMessage(message, tell)).catch(stop);
    const result = await child;
    if (failure !== undefined) throw failure;
    if (result.exitCode !== 0) throw exitError(result);
  } finally {
    init.signal.removeEventListener('abort', onAbort);
    input.destroy();
    output.destroy();
  }
}

/** Handle the lines of the process one after the other, until it closes its end. */
async function follow(output: Duplex, init: EmuInit, onMessage: (message: EmuMessage) => Promise<void>): Promise<void> {
  const decode = createLineDecoder();
  for await (const chunk of output) {
    for (const line of decode(chunk as Buffer)) {
      const message = decodeMessage(line);
      if (message.kind === 'error') throw new XapiError('INTERNAL_ERROR', [`emu-manager: ${message.text}`]);
      if (message.kind === 'progress') init.onProgress(message.percent);
      else init.log.debug(`emu-manager: ${line}`);
      await onMessage(message);
    }
  }
}

function exitError(result: {
  exitCode?: number | undefined;
  signal?: string | undefined;
  shortMessage?: string | undefined;
  stderr?: unknown;
}): XapiError {
  const { exitCode, signal, shortMessage } = result;
  const ended = signal === undefined ? `cannot be started: ${shortMessage}` : `was ended by ${signal}`;
  const how = exitCode === undefined ? ended : `exited with ${exitCode}`;
  const said = messageOf(result.stderr ?? '')
    .trim()
    .slice(-500);
  return new XapiError('INTERNAL_ERROR', [`emu-manager ${how}${said === '' ? '' : `: ${said}`}`]);
}
