#!/usr/bin/env node
/**
 * xenferryd, the daemon of one host: its command line, its log and its signals. daemon.ts starts it, shutdown.ts ends
 * it; SIGHUP rereads the configuration.
 */
import { mkdirSync, rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { backEndReport } from './back-end.js';
import { type CommandLine, optionsHelp, readCommandLine } from './base/config/command-line.js';
import { ConfigError, type LoadedConfig, readConfig } from './base/config/config.js';
import { namedProblems } from './base/config/named.js';
import { checkConfig, describeChange, reloadConfig } from './base/config/report.js';
import { messageOf, XapiError } from './base/errors.js';
import { createLog, type RootLog } from './base/log.js';
import { logPrints, surviveOutput, writeOutput } from './base/output.js';
import { compileInForeground } from './base/process/exit-hang.js';
import { helperMark } from './base/process/helper-process.js';
import { type Lock, takeLock } from './base/process/lock.js';
import { backupDatabase } from './base/store/format.js';
import { adviceOnNode, ownVersion } from './base/version.js';
import { type Daemon, startDaemon } from './daemon.js';
import { createShutdown } from './shutdown.js';
import { killMarked } from './xenops/leftovers.js';

async function main(argv: readonly string[]): Promise<void> {
  compileInForeground();
  surviveOutput();
  const commandLine = readCommandLine(argv);
  if (commandLine.help) return answer(['Usage: xenferryd [OPTION]...', ...optionsHelp()]);
  if (commandLine.version) return answer([`xenferryd ${ownVersion()}`]);
  if (commandLine.checkConfig) {
    const { lines, exitCode } = await checkConfig(commandLine, backEndReport);
    return answer(lines, exitCode);
  }
  const loaded = readConfig(commandLine);
  if (commandLine.backupTo !== undefined) {
    await backupDatabase(loaded.config.databasePath, commandLine.backupTo);
    return answer([`copied ${loaded.config.databasePath} to ${commandLine.backupTo}`]);
  }
  const unusable = namedProblems(loaded);
  if (unusable.length > 0) throw new ConfigError(unusable);
  await run(loaded, commandLine);
}

/** Start the daemon, and have the process's signals from now on. Returns when the daemon listens. */
async function run(first: LoadedConfig, commandLine: CommandLine): Promise<void> {
  // Each file has a mode of its own as well; this is for those that libraries and helpers make.
  process.umask(0o077);
  let loaded = first;
  const { stateDir, log: destination } = first.config;
  const leave = enter(stateDir);
  const log = openLog(first);
  let starting: Promise<Daemon> | undefined;
  /** A hypervisor that the start has begun, in which nobody has anything until the daemon is whole. */
  let begun: number | undefined;
  const killHelpers = (): number => {
    if (begun !== undefined) kill(begun);
    return killMarked(helperMark(stateDir)).length;
  };
  const shutdown = createShutdown({
    log,
    // One that is still starting starts first: what it has begun, its hypervisor above all, is nobody's until then.
    close: async () => (await starting)?.close(),
    timeoutMs: () => loaded.config.shutdownTimeout * 1000,
    killHelpers,
    exit: process.exit,
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, shutdown.onSignal);
  process.on('uncaughtException', shutdown.onUncaught);
  process.on('SIGHUP', () => {
    loaded = reload(loaded, () => reloadConfig(loaded, commandLine), log);
    starting?.then((daemon) => daemon.reload()).catch((error: unknown) => log.error('reload', { error }));
  });
  starting = startDaemon({
    loaded: () => loaded,
    log,
    onStoreFailed: shutdown.onStoreFailed,
    onHypervisorStarted(pid) {
      begun = pid;
    },
  }).catch((error: unknown) => {
    killHelpers();
    leave();
    throw error;
  });
  const daemon = await starting;
  begun = undefined;
  // One line is enough where both go to the terminal.
  if (destination !== 'stderr') log.info(`listening on ${daemon.url}`, { version: ownVersion(), pid: process.pid });
  await print([`xenferryd listening on ${daemon.url}`]);
}

function openLog({ config, warnings }: LoadedConfig): RootLog {
  const log = createLog({ destination: config.log, level: config.loglevel });
  logPrints(log);
  for (const warning of warnings) log.warn(warning);
  const advice = adviceOnNode(process.versions.node);
  if (advice !== undefined) log.warn(advice);
  return log;
}

/**
 * Make the state directory if need be, and be the only daemon there.
 * @returns to be called by a daemon that cannot start: removes what was made, as far as nothing is in it
 */
function enter(stateDir: string): () => void {
  const made = mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const leave = (lock?: Lock): void => {
    if (made === undefined) return;
    lock?.release();
    removeEmpty(stateDir, made);
  };
  try {
    const lock = takeLock('xenferryd', stateDir);
    if (lock !== undefined) return () => leave(lock);
  } catch (error) {
    leave();
    throw error;
  }
  throw new Error(`another xenferryd runs with the state directory ${stateDir}`);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // The process has ended.
  }
}

/** A file with an error is refused as a whole, and the old values stay. */
function reload(current: LoadedConfig, read: () => ReturnType<typeof reloadConfig>, log: RootLog): LoadedConfig {
  try {
    log.reopen();
  } catch (error) {
    log.error(`the log goes on in its old file: ${messageOf(error)}`);
  }
  try {
    const { loaded, changes } = read();
    for (const warning of loaded.warnings) log.warn(warning);
    for (const change of changes) log.info(describeChange(change));
    log.setLevel(loaded.config.loglevel);
    log.info(`configuration read again, ${changes.length} changed`);
    return loaded;
  } catch (error) {
    const problems = error instanceof ConfigError ? error.problems : [messageOf(error)];
    for (const problem of problems) log.error(`configuration refused, the old one stays: ${problem}`);
    return current;
  }
}

/** Remove a directory and those that it is in, up to one of them, as long as they are empty. */
function removeEmpty(directory: string, last: string): void {
  try {
    rmdirSync(directory);
    if (directory !== last) removeEmpty(dirname(directory), last);
  } catch {
    // There is something in it.
  }
}

/** Print the last that this program has to say. */
async function answer(lines: readonly string[], exitCode = 0): Promise<void> {
  process.exitCode = (await print(lines)) || exitCode;
}

function print(lines: readonly string[]): Promise<number> {
  return writeOutput('xenferryd', `${lines.join('\n')}\n`);
}

function fail(message: string): never {
  process.stderr.write(`xenferryd: ${message}\n`);
  process.exit(1);
}

/** Say of a XenAPI error what its parameters have no room for as well. */
function explained(error: unknown): string {
  const cause = error instanceof XapiError && typeof error.cause === 'string' ? `: ${error.cause}` : '';
  return messageOf(error) + cause;
}

main(process.argv.slice(2)).catch((error: unknown) => fail(explained(error)));
