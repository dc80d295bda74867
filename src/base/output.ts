/** Standard output that may not be writable: a full disk, a pipe that nobody reads. */
import { Console } from 'node:console';
import { Writable } from 'node:stream';
import { messageOf } from './errors.js';
import type { Log, LogLevel } from './log.js';

/**
 * Say on standard error that the output cannot be written. Whoever closed a pipe has seen enough, and is told nothing.
 * @returns the exit status that fits
 */
function outputFailed(program: string, error: NodeJS.ErrnoException): number {
  if (error.code === 'EPIPE') return 0;
  process.stderr.write(`${program}: cannot write the output: ${messageOf(error)}\n`);
  return 1;
}

/**
 * Let nothing that standard output and error lead to end a daemon, or hold it up: a full device, a pipe that nobody
 * reads, none at all. A pipe that Node has looked at does not block from then on, for what native code prints neither.
 */
export function surviveOutput(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
}

/**
 * Put into the log what libraries print, and what Node warns of.
 */
export function logPrints(log: Log): void {
  const into = (level: LogLevel) =>
    new Writable({
      decodeStrings: false,
      write(text: string | Buffer, _encoding, done) {
        log[level](`printed: ${String(text).trimEnd()}`);
        done();
      },
    });
  globalThis.console = new Console({ stdout: into('info'), stderr: into('warn') });
  process.removeAllListeners('warning');
  process.on('warning', (warning) => log.warn('a warning of Node', { error: warning }));
}

/**
 * Write to standard output, and wait until it is written.
 * @param program its name, for the message where it cannot be written
 * @returns the exit status that fits
 */
export function writeOutput(program: string, text: string): Promise<number> {
  process.stdout.once('error', () => undefined);
  return new Promise((resolve) => {
    process.stdout.write(text, (error) => resolve(error ? outputFailed(program, error) : 0));
  });
}

/**
 * Let a program go on where its output cannot be written: what it does is worth more than what it says.
 * @param program its name, for the message
 * @returns what to call at its end, with the exit status that it would have: says what could not be written, and
 *   answers the status
 */
export function tolerateOutput(program: string): (status: number) => Promise<number> {
  let failure: NodeJS.ErrnoException | undefined;
  process.stdout.on('error', (error) => {
    failure ??= error;
  });
  process.stderr.on('error', () => undefined);
  return async (status) => {
    // Files and pipes are written at once; the event of what failed comes a little later.
    await new Promise((resolve) => setImmediate(resolve));
    return failure === undefined ? status : Math.max(status, outputFailed(program, failure));
  };
}
