/**
 * Run an emu-manager process: its command line, and the daemon's side of its control protocol (base/emu-protocol).
 *
 * The process reads and writes guest memory on descriptors that it is handed; only control lines come by here. Its `result:` is
 * success, not its exit status: after `abort` it exits with 0 and no result.
 */
import { availableParallelism } from 'node:os';
import type { Duplex, Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { untilAborted, within } from '../base/deadline.js';
import { XapiError } from '../base/errors.js';
import {
  type Command,
  drained,
  type HelperEnd,
  type HelperProcess,
  startHelper,
} from '../base/process/helper-process.js';
import {
  type ConvergenceRule,
  createLineDecoder,
  decodeMessage,
  type EmuCommand,
  type EmuFeature,
  type EmuMessage,
  type EmuResult,
  emuFeatures,
  encodeCommand,
  parseFigures,
  parseStatistics,
  type SaveStatistics,
} from '../base/protocol/emu-protocol.js';
import type { StreamFormats } from '../base/protocol/stream-formats.js';
import { StreamError, type StreamFailure } from '../base/stream-error.js';
import type {
  AskInit,
  DomainSaved,
  DomainSaveInit,
  DomainStreamInit,
  SaveHelper,
  StreamCompression,
} from './save-helper.js';

/** How the program is started: a file, and what comes before its own arguments. */
export type EmuProgram = Command;

export interface EmuManagerInit {
  readonly program: EmuProgram;
  /** What the program needs in its environment to reach the domains. */
  readonly environment: Readonly<Record<string, string>>;
  readonly formats: StreamFormats;
}

/** What a process said before its end is dealt with for so long. */
const lastWordsMs = 1_000;
const supportsTimeoutMs = 10_000;
/** The longest answer to `-supports` that can be one. */
const supportsBytes = 64;
/** Descriptors in the child: 0 to 2 as usual, then control in and out, memory, vGPUs. */
const controlIn = 3;
const controlOut = 4;
const firstStream = 5;

/**
 * What makes our own program quick, as one is set up by its environment alone: glibc keeps and uses again the memory of buffers of
 * a MiB, which it would give back to the system each time (that costs 7%); and libuv has a thread for each core, up to 16.
 */
const forPages = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: String(256 << 20),
  MALLOC_TRIM_THRESHOLD_: String(256 << 20),
  UV_THREADPOOL_SIZE: String(Math.min(Math.max(availableParallelism(), 4), 16)),
};

const builtIn = fileURLToPath(new URL('../emu-manager/main.js', import.meta.url));

/** @param path the configured program; '' for the one that comes with xenferry */
export function emuProgram(path: string): EmuProgram {
  return path === '' ? [process.execPath, builtIn] : [path];
}

/** Save and restore by an emu-manager program. */
export function createEmuManager({ program, environment, formats }: EmuManagerInit): SaveHelper {
  const supports: SaveHelper['supports'] = (feature, init) => emuSupports(program, feature, init);
  const converseWith = (domid: number, init: DomainStreamInit): Conversation => ({
    ...{ program, domid, init },
    environment: { ...(program[1] === builtIn ? forPages : {}), ...environment, ...init.environment },
  });
  return {
    formats,
    supports,
    readable: (init) => readableFormats(formats, (feature) => supports(feature, init)),
    save: ({ domid }, init) => save(converseWith(domid, init), init),
    restore: ({ domid }, init) => restore(converseWith(domid, init)),
  };
}

/** A program reads what it can write. */
async function readableFormats(
  { memory, unchecked, vgpu }: StreamFormats,
  supports: (feature: EmuFeature) => Promise<boolean>,
): Promise<readonly string[]> {
  if (!(await supports('compress'))) return [];
  const [checks, compressesVgpus] = await Promise.all([supports('compress_format'), supports('compress_vgpu')]);
  return [
    ...(checks ? [memory] : []),
    ...(unchecked === undefined ? [] : [unchecked]),
    ...(compressesVgpus && vgpu !== undefined ? [vgpu] : []),
  ];
}

/**
 * Whether the program supports a feature: it prints true. A program that cannot say does not. Ours need not be started to say.
 * @throws the signal's reason
 */
async function emuSupports(
  [file, ...before]: EmuProgram,
  feature: EmuFeature,
  { signal, ...settings }: AskInit,
): Promise<boolean> {
  signal.throwIfAborted();
  if (before[0] === builtIn) return emuFeatures.includes(feature);
  const helper = startHelper([file, ...before, '-supports', feature], ['ignore', 'pipe', 'pipe'], settings);
  const output = helper.stdio[1] as Readable | null;
  let answer = '';
  output?.on('data', (chunk: Buffer) => {
    if (answer.length < supportsBytes) answer += chunk.toString('latin1', 0, supportsBytes);
  });
  output?.on('error', () => undefined);
  const inTime = within(helper.ended, supportsTimeoutMs, 'no answer to -supports');
  const end = await untilAborted(inTime, signal).catch(() => undefined);
  await helper.stop();
  await drained(output);
  signal.throwIfAborted();
  return end?.exitCode === 0 && answer.trim() === 'true';
}

/** One run of the program. */
interface Conversation {
  readonly program: EmuProgram;
  readonly environment: Readonly<Record<string, string>>;
  readonly domid: number;
  readonly init: DomainStreamInit;
}

async function save(conversation: Conversation, init: DomainSaveInit): Promise<DomainSaved> {
  let statistics: Partial<SaveStatistics> = {};
  const argv = [...commonArguments(conversation, 'hvm_save'), ...saveArguments(init)];
  const awaited = new Set<EmuResult['of']>(['save']);
  await converse(conversation, argv, awaited, async (message, tell) => {
    if (message.kind === 'prepare') {
      await (message.emu === 'xenguest' ? init.beforeMemory() : init.beforeVgpus());
      await tell({ kind: 'done' });
    } else if (message.kind === 'suspend') {
      await init.onSuspend();
      await tell({ kind: 'done' });
    } else if (message.kind === 'stdout') {
      const figures = parseFigures(message.text);
      if (figures !== undefined) init.onFigures?.(figures);
      statistics = parseStatistics(message.text) ?? statistics;
    }
  });
  if (awaited.size > 0) throw new XapiError('INTERNAL_ERROR', ['emu-manager ended without a result']);
  return { argv, statistics };
}

async function restore(conversation: Conversation): Promise<void> {
  const { beforeMemory, beforeVgpus, vgpus } = conversation.init;
  const awaited = new Set<EmuResult['of']>(['xenguest', ...(vgpus.length === 0 ? [] : (['vgpu'] as const))]);
  const opening = async (tell: Tell) => {
    await beforeMemory();
    await tell({ kind: 'restore', emu: 'xenguest' });
    if (vgpus.length === 0) return;
    await beforeVgpus();
    await tell({ kind: 'restore', emu: 'vgpu' });
  };
  await converse(conversation, commonArguments(conversation, 'hvm_restore'), awaited, async () => undefined, opening);
  if (awaited.size > 0)
    throw new XapiError('INTERNAL_ERROR', [`emu-manager ended without a result of ${[...awaited].join(', ')}`]);
}

function commonArguments({ domid, init }: Conversation, mode: string): string[] {
  return [
    ...['-controlinfd', String(controlIn), '-controloutfd', String(controlOut)],
    ...['-fd', String(firstStream), '-mode', mode, '-domid', String(domid)],
    ...init.vgpus.flatMap((_, index) => ['-dm', `vgpu:${firstStream + 1 + index}`]),
  ];
}

/** Nothing that the real program does not know, but where it has said that it supports it. */
function saveArguments({ live, compression, convergence, link }: DomainSaveInit): string[] {
  return [
    ...['-live', String(live)],
    ...(compression === undefined ? [] : compressionArguments(compression)),
    ...(convergence === undefined ? [] : convergenceArguments(convergence, link)),
  ];
}

function compressionArguments({ level, unchecked, plainVgpus }: StreamCompression): string[] {
  return [
    ...['-compress', 'true'],
    ...(unchecked === true ? ['-compress_format', '2'] : []),
    ...(level === undefined ? [] : ['-compress_level', String(level)]),
    ...(plainVgpus === true ? ['-compress_vgpu', 'false'] : []),
  ];
}

function convergenceArguments({ maxDowntimeMs, maxRounds, strategy }: ConvergenceRule, link?: string): string[] {
  return [
    ...(link === undefined ? [] : ['-link', link]),
    ...['-max_downtime', String(maxDowntimeMs), '-max_rounds', String(maxRounds), '-convergence', strategy],
  ];
}

type Tell = (command: EmuCommand) => Promise<void>;
type OnMessage = (message: EmuMessage, tell: Tell) => Promise<void>;

/**
 * Start the process and follow it to its end; it is gone when this settles.
 * @param awaited the results that it is to give; those that came are taken out
 * @throws what it reports, what a handler throws, or the signal's reason
 */
async function converse(
  { program, environment, init }: Conversation,
  argv: readonly string[],
  awaited: Set<EmuResult['of']>,
  onMessage: OnMessage,
  opening?: (tell: Tell) => Promise<void>,
): Promise<void> {
  init.signal.throwIfAborted();
  const streams = [init.memory.fd, ...init.vgpus.map(({ fd }) => fd)];
  if (streams.some((fd) => fd < 0)) throw new StreamError('broken-stream', 'the connection is closed');
  const stdio = ['ignore', 'ignore', 'pipe', 'pipe', 'pipe', ...streams] as const;
  const helper = startHelper([...program, ...argv], stdio, { ...init, environment });
  if (helper.pid !== undefined) init.onStarted?.(helper.pid);
  const { tell, output, close } = openControl(helper);
  const failed = new AbortController();
  const fail = (reason: unknown) => failed.abort(reason);
  const onAbort = () => fail(init.signal.reason);
  init.signal.addEventListener('abort', onAbort);
  const mustExit = (what: string): void => {
    within(helper.ended, init.exitTimeoutMs, `emu-manager ${what}, and did not exit`).catch(fail);
  };
  const handle: OnMessage = async (message) => {
    if (message.kind === 'error') throw errorOf(`emu-manager: ${message.text}`, message.failure);
    if (message.kind === 'result' && awaited.delete(message.result.of) && awaited.size === 0) {
      mustExit('gave its result');
    }
    await onMessage(message, tell);
  };
  const work = async (): Promise<HelperEnd> => {
    if (init.signal.aborted) onAbort();
    opening?.(tell).catch(fail);
    // What a gone process has said is read first, as it may say why; what a handler then still waits for is of no use.
    const said = follow(output, init, (message) => handle(message, tell));
    await Promise.race([said, helper.ended.then(() => delay(lastWordsMs))]);
    mustExit('closed its control channel');
    return helper.ended;
  };
  try {
    const end = await untilAborted(work(), failed.signal);
    if (end.exitCode !== 0) throw exitError(end);
  } finally {
    init.signal.removeEventListener('abort', onAbort);
    await helper.stop(() => void tell({ kind: 'abort' }));
    close();
  }
}

/** Our ends of the control channel. */
function openControl({ stdio }: HelperProcess) {
  const input = stdio[controlIn] as Duplex;
  const output = stdio[controlOut] as Duplex;
  input.on('error', () => undefined);
  input.resume();
  // A program that is gone cannot be told; how it ended says more.
  const tell: Tell = (command) => new Promise((resolve) => input.write(encodeCommand(command), () => resolve()));
  const close = () => {
    input.destroy();
    output.destroy();
  };
  return { tell, output, close };
}

/** Handle the lines of the process one after the other, until it closes its end. */
async function follow(
  output: Duplex,
  init: DomainStreamInit,
  onMessage: (message: EmuMessage) => Promise<void>,
): Promise<void> {
  const decode = createLineDecoder();
  for await (const chunk of output) {
    for (const line of decode(chunk as Buffer)) {
      const message = decodeMessage(line);
      if (message.kind === 'progress') init.onProgress(message.percent);
      else init.log.debug(`emu-manager: ${line}`);
      await onMessage(message);
    }
  }
}

function exitError({ how, said, signal }: HelperEnd): XapiError {
  const text = `emu-manager ${how}${said === '' ? '' : `: ${said.slice(-500)}`}`;
  return errorOf(text, signal === 'SIGPIPE' ? 'broken-stream' : undefined);
}

function errorOf(text: string, failure: StreamFailure | undefined): XapiError {
  return failure === undefined ? new XapiError('INTERNAL_ERROR', [text]) : new StreamError(failure, text);
}
