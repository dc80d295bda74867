/**
 * What an emu-manager process and the daemon that started it say to each other: lines of text on two descriptors, in the words
 * of the real program. Both programs use this codec.
 *
 * From the helper: `info:\b\b\b\b<percent>` (backslash and b as text), `prepare:xenguest`, `prepare:vgpu`, `suspend:`,
 * `result:<words>`, `error:<text>`, `stdout:<text>`, `stderr:<text>`. To it: `done`, `restore:xenguest`, `restore:vgpu`,
 * `abort`.
 *
 * Beyond the real program's words an error has a code before its text where the daemon acts on it: `error:no-convergence: <text>`
 * for a guest that wrote faster than its pages were sent, `error:broken-stream: <text>` where the other end of a stream is gone.
 * An error without one is a failure like any other, whatever its text says.
 */
import { XapiError } from '../errors.js';
import { type StreamFailure, streamFailures } from '../stream-error.js';

/** The longest line in bytes: as written with its newline, as accepted without it. */
export const maxLineBytes = 128;

/** How long the helper waits for `done`, in seconds. */
export const doneTimeoutSeconds = 120;

/** What the emu-manager that comes with xenferry answers true to when it is asked `-supports`. */
export const emuFeatures = ['compress', 'compress_format', 'compress_level', 'compress_vgpu', 'convergence'] as const;
export type EmuFeature = (typeof emuFeatures)[number];

/** What the helper streams: the domain's memory and CPU, or its virtual GPUs. */
export type Emu = 'xenguest' | 'vgpu';

/** What the helper did, which is its success: `save` is `result:0 0`. */
export type EmuResult =
  | { readonly of: 'save' }
  | { readonly of: 'xenguest'; readonly storeMfn: number; readonly consoleMfn: number }
  | { readonly of: 'vgpu' };

/** A line from the helper. */
export type EmuMessage =
  | { readonly kind: 'progress'; readonly percent: number }
  | { readonly kind: 'prepare'; readonly emu: Emu }
  | { readonly kind: 'suspend' }
  | { readonly kind: 'result'; readonly result: EmuResult }
  | { readonly kind: 'error'; readonly failure?: StreamFailure; readonly text: string }
  | { readonly kind: 'info' | 'stdout' | 'stderr'; readonly text: string };

/** A line to the helper. */
export type EmuCommand =
  | { readonly kind: 'done' }
  | { readonly kind: 'abort' }
  | { readonly kind: 'restore'; readonly emu: Emu };

/** Figures of a finished save, which the helper says in a `stdout:` line before its result. */
export interface SaveStatistics {
  /** Rounds in all, the last one included. */
  readonly rounds: number;
  /** Bytes of guest pages sent, before compression. */
  readonly guestBytes: number;
  /** Bytes of the memory stream. */
  readonly streamBytes: number;
  /** Bytes of the virtual GPUs' streams, where there are any. */
  readonly vgpuBytes?: number;
}

/** How hard to compress: `auto` follows what limits the copy; a level of zstd; 0, pages as they are. */
export type CompressionLevel = number | 'auto';

/** What is allowed of it, in words that end a sentence. */
export const compressionLevelAllowed = 'auto or a whole number from -7 to 9';

/** @returns undefined where the text is not allowed */
export function parseCompressionLevel(text: string): CompressionLevel | undefined {
  if (/^auto$/i.test(text)) return 'auto';
  const level = /^-?\d$/.test(text) ? Number(text) : Number.NaN;
  // No -0, which would be told as it is.
  return level >= -7 && level <= 9 ? level + 0 : undefined;
}

/** What can be done about a guest that writes to its memory faster than that is sent. */
export const convergenceStrategies = ['proceed', 'throttle', 'fail'] as const;
export type ConvergenceStrategy = (typeof convergenceStrategies)[number];

/** When a save stops copying while the guest runs: arguments of a program that supports `convergence`. */
export interface ConvergenceRule {
  /** The rest is to be sent within this time. */
  readonly maxDowntimeMs: number;
  /** Rounds while the guest runs, before the strategy counts. */
  readonly maxRounds: number;
  readonly strategy: ConvergenceStrategy;
}

/** How a copy goes, which a helper that was given the rule says in `stdout:` lines now and then. */
export interface CopyFigures {
  /** The round of now, from 1. */
  readonly round: number;
  /** Pages that are to be sent yet, those held back for the last round included. */
  readonly pagesLeft: number;
  /** Pages sent a second. */
  readonly pagesPerSecond: number;
  /** Pages that the guest writes to a second; a page counts once a round. */
  readonly dirtyPagesPerSecond: number;
  /** How long the guest would stand still, were it suspended now, in milliseconds. */
  readonly expectedDowntimeMs: number;
  /** By how much the guest is slowed down, in percent. */
  readonly throttlePercent: number;
  /** How hard is compressed, in the helper's words; `none` where it does not. */
  readonly level: string;
}

const progressMark = '\\b\\b\\b\\b';
const commands = ['done', 'abort', 'restore:xenguest', 'restore:vgpu'];

/** The line of a message, with its newline; free text loses its line breaks and is cut to fit. */
export function encodeMessage(message: EmuMessage): Buffer {
  switch (message.kind) {
    case 'progress':
      return encodeLine(`info:${progressMark}${message.percent}`);
    case 'prepare':
      return encodeLine(`prepare:${message.emu}`);
    case 'suspend':
      return encodeLine('suspend:');
    case 'result':
      return encodeLine(`result:${resultWords(message.result)}`);
    case 'error':
      return encodeLine(`error:${message.failure === undefined ? '' : `${message.failure}: `}${message.text}`);
    default:
      return encodeLine(`${message.kind}:${message.text}`);
  }
}

/** @throws INTERNAL_ERROR naming the line that is not of the protocol */
export function decodeMessage(line: string): EmuMessage {
  const colon = line.indexOf(':');
  const kind = line.slice(0, Math.max(colon, 0));
  const text = line.slice(colon + 1);
  switch (kind) {
    case 'info':
      return decodeInfo(text);
    case 'prepare':
      if (text === 'xenguest' || text === 'vgpu') return { kind, emu: text };
      break;
    case 'suspend':
      return { kind };
    case 'result':
      return { kind, result: decodeResult(text, line) };
    case 'error':
      return decodeError(text);
    case 'stdout':
    case 'stderr':
      return { kind, text };
  }
  throw unexpected('emu-manager', line, 'info:, prepare:, suspend:, result:, error:, stdout: or stderr:');
}

/** The line of a command, with its newline. */
export function encodeCommand(command: EmuCommand): Buffer {
  return encodeLine(command.kind === 'restore' ? `restore:${command.emu}` : command.kind);
}

/** @throws INTERNAL_ERROR naming the line that is not of the protocol */
export function decodeCommand(line: string): EmuCommand {
  switch (line) {
    case 'done':
    case 'abort':
      return { kind: line };
    case 'restore:xenguest':
      return { kind: 'restore', emu: 'xenguest' };
    case 'restore:vgpu':
      return { kind: 'restore', emu: 'vgpu' };
  }
  throw unexpected('the daemon', line, commands.join(', '));
}

/**
 * Cuts a channel into its lines. Feed it what arrives; it returns the lines completed by that, without their newlines.
 * @throws INTERNAL_ERROR for a line longer than 128 bytes, complete or not
 */
export function createLineDecoder(): (chunk: Uint8Array) => string[] {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    const bytes = Buffer.concat([rest, chunk]);
    const lines: string[] = [];
    let start = 0;
    for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a, start)) {
      lines.push(asLine(bytes.subarray(start, end)));
      start = end + 1;
    }
    rest = bytes.subarray(start);
    asLine(rest);
    return lines;
  };
}

/** The text of the line of statistics. */
export function formatStatistics(statistics: SaveStatistics): string {
  const { rounds, guestBytes, streamBytes, vgpuBytes } = statistics;
  const more = vgpuBytes === undefined ? '' : ` vgpu_bytes=${vgpuBytes}`;
  return `stats rounds=${rounds} guest_bytes=${guestBytes} stream_bytes=${streamBytes}${more}`;
}

/** @returns undefined for any other text */
export function parseStatistics(text: string): SaveStatistics | undefined {
  const match = /^stats rounds=(\d+) guest_bytes=(\d+) stream_bytes=(\d+)(?: vgpu_bytes=(\d+))?$/.exec(text);
  if (match === null) return undefined;
  const vgpuBytes = match[4] === undefined ? {} : { vgpuBytes: Number(match[4]) };
  return { rounds: Number(match[1]), guestBytes: Number(match[2]), streamBytes: Number(match[3]), ...vgpuBytes };
}

/** The text of the line of figures of a copy. */
export function formatFigures(figures: CopyFigures): string {
  const { round, pagesLeft, pagesPerSecond, dirtyPagesPerSecond, expectedDowntimeMs, throttlePercent, level } = figures;
  const rates = `sent_per_s=${whole(pagesPerSecond)} dirty_per_s=${whole(dirtyPagesPerSecond)}`;
  const rest = `downtime_ms=${whole(expectedDowntimeMs)} throttle=${throttlePercent} level=${level}`;
  return `copy round=${round} left=${pagesLeft} ${rates} ${rest}`;
}

const figuresLine =
  /^copy round=(\d+) left=(\d+) sent_per_s=(\d+) dirty_per_s=(\d+) downtime_ms=(\d+) throttle=(\d+) level=(\S+)$/;

/** @returns undefined for any other text */
export function parseFigures(text: string): CopyFigures | undefined {
  const match = figuresLine.exec(text);
  if (match === null) return undefined;
  const numberAt = (index: number) => Number(match[index]);
  return {
    ...{ round: numberAt(1), pagesLeft: numberAt(2), pagesPerSecond: numberAt(3), dirtyPagesPerSecond: numberAt(4) },
    ...{ expectedDowntimeMs: numberAt(5), throttlePercent: numberAt(6), level: match[7] as string },
  };
}

/** A figure without its fraction, of at most ten digits. */
function whole(value: number): number {
  return Math.min(Math.round(value), 9_999_999_999);
}

function resultWords(result: EmuResult): string {
  if (result.of === 'xenguest') return `xenguest ${result.storeMfn} ${result.consoleMfn}`;
  return result.of === 'vgpu' ? 'vgpu' : '0 0';
}

function decodeResult(text: string, line: string): EmuResult {
  if (text === 'vgpu') return { of: 'vgpu' };
  if (text === '0 0') return { of: 'save' };
  const mfns = /^xenguest (\d{1,15}) (\d{1,15})$/.exec(text);
  if (mfns !== null) return { of: 'xenguest', storeMfn: Number(mfns[1]), consoleMfn: Number(mfns[2]) };
  throw unexpected('emu-manager', line, 'result:0 0, result:xenguest <mfn> <mfn> or result:vgpu');
}

function decodeError(text: string): EmuMessage {
  const failure = streamFailures.find((each) => text.startsWith(`${each}: `));
  if (failure === undefined) return { kind: 'error', text };
  return { kind: 'error', failure, text: text.slice(failure.length + 2) };
}

function decodeInfo(text: string): EmuMessage {
  const percent = text.startsWith(progressMark) ? /^\d{1,3}$/.exec(text.slice(progressMark.length)) : null;
  if (percent === null) return { kind: 'info', text };
  return { kind: 'progress', percent: Math.min(100, Number(percent[0])) };
}

function encodeLine(text: string): Buffer {
  const bytes = Buffer.from(text.replace(/[\r\n]+/g, ' '), 'utf8');
  let end = Math.min(bytes.length, maxLineBytes - 1);
  while (end > 0 && end < bytes.length && ((bytes[end] as number) & 0xc0) === 0x80) end -= 1;
  return Buffer.concat([bytes.subarray(0, end), Buffer.from('\n')]);
}

function asLine(bytes: Buffer): string {
  if (bytes.length <= maxLineBytes) return bytes.toString('utf8');
  const start = JSON.stringify(bytes.toString('utf8', 0, 32));
  throw new XapiError('INTERNAL_ERROR', [`control channel: a line longer than ${maxLineBytes} bytes: ${start}...`]);
}

function unexpected(from: string, line: string, allowed: string): XapiError {
  return new XapiError('INTERNAL_ERROR', [
    `unexpected line from ${from}: ${JSON.stringify(line)}; allowed: ${allowed}`,
  ]);
}
