#!/usr/bin/env node
/**
 * xenferryd, the daemon of one host: the composition root. Reads the configuration, opens log, store and back end, puts the
 * layers together, opens the port, and ends as shutdown.ts says. SIGHUP rereads the configuration.
 */
import { mkdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { createSimulator } from './backend/simulator/simulator.js';
import { optionsHelp, readCommandLine } from './base/config/command-line.js';
import { type Config, ConfigError, type LoadedConfig, readConfig } from './base/config/config.js';
import { namedProblems } from './base/config/named.js';
import { checkConfig, describeChange, reloadConfig } from './base/config/report.js';
import { messageOf, XapiError } from './base/errors.js';
import { createLog, type RootLog } from './base/log.js';
import { readTextFile, writeTextFile } from './base/named-file.js';
import { logPrints, surviveOutput, writeOutput } from './base/output.js';
import { compileInForeground } from './base/process/exit-hang.js';
import { helperMark } from './base/process/helper-process.js';
import { type Lock, takeLock } from './base/process/lock.js';
import { isEveryAddress, isLoopback } from './base/server-address.js';
import { backupDatabase, makeDatabaseDirectory } from './base/store/format.js';
import { openStore } from './base/store/store.js';
import { adviceOnNode, ownVersion } from './base/version.js';
import { zstd } from './base/zstd/zstd.js';
import { openIdentity } from './host/service/identity.js';
import { createShutdown } from './shutdown.js';
import { createListener, type ListenerDeps } from './wire/connection/listener.js';
import { killMarked } from './xenops/leftovers.js';

/** What a running daemon is to its signals. */
interface Daemon {
  readonly url: string;
  reload(): Promise<void>;
  close(): Promise<void>;
}

async function main(argv: readonly string[]): Promise<void> {
  compileInForeground();
  surviveOutput();
  const commandLine = readCommandLine(argv);
  if (commandLine.help) return answer(['Usage: xenferryd [OPTION]...', ...optionsHelp()]);
  if (commandLine.version) return answer([`xenferryd ${ownVersion()}`]);
  if (commandLine.checkConfig) {
    const { lines, exitCode } = checkConfig(commandLine);
    return answer(lines, exitCode);
  }
  let loaded = readConfig(commandLine);
  if (commandLine.backupTo !== undefined) {
    await backupDatabase(loaded.config.databasePath, commandLine.backupTo);
    return answer([`copied ${loaded.config.databasePath} to ${commandLine.backupTo}`]);
  }
  const unusable = namedProblems(loaded);
  if (unusable.length > 0) throw new ConfigError(unusable);
  const leave = enter(loaded.config.stateDir);
  const log = createLog({ destination: loaded.config.log, level: loaded.config.loglevel });
  logPrints(log);
  for (const warning of [...loaded.warnings, adviceOnNode(process.versions.node) ?? []].flat()) log.warn(warning);
  let starting: Promise<Daemon> | undefined;
  /** A hypervisor that the start has begun, in which nobody has anything until the daemon is whole. */
  let begun: number | undefined;
  const killHelpers = (): number => {
    if (begun !== undefined) kill(begun);
    return killMarked(helperMark(loaded.config.stateDir)).length;
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
  starting = start(
    () => loaded,
    log,
    shutdown.onStoreFailed,
    (pid) => {
      begun = pid;
    },
  ).catch((error: unknown) => {
    killHelpers();
    leave();
    throw error;
  });
  const daemon = await starting;
  begun = undefined;
  // One line is enough where both go to the terminal.
  if (loaded.config.log !== 'stderr') {
    log.info(`listening on ${daemon.url}`, { version: ownVersion(), pid: process.pid });
  }
  await print([`xenferryd listening on ${daemon.url}`]);
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
    // It has ended.
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

async function start(
  loaded: () => LoadedConfig,
  log: RootLog,
  onStoreFailed: (error: unknown) => void,
  onStarted: (pid: number) => void,
): Promise<Daemon> {
  const config = (): Config => loaded().config;
  const { stateDir, databasePath, listenAddress, address, coordinator, hostName, pidfile } = config();
  const door = await openDoor(config, log);
  log.info(`memory is compressed by ${zstd.way}`);
  if (pidfile !== '') keepPidfile(pidfile);
  if (!isLoopback(listenAddress)) warnOfListening(listenAddress, log);
  const url = `http://${address.includes(':') ? `[${address}]` : address}:${door.port}`;
  makeDatabaseDirectory(databasePath);
  if (takeLock('database', databasePath) === undefined) {
    throw new Error(`another xenferryd runs with the database ${databasePath}`);
  }
  // Most of the program. Who asks for help, or starts it where it cannot run, need not wait for it to be read.
  const [{ openHostEngine }, { takeRole }] = await Promise.all([import('./host/engine.js'), import('./role.js')]);
  const store = openStore(databasePath, { reserve: config().databaseReserve, onFailed: onStoreFailed });
  const identity = await openIdentity({ store, coordinator, secretFile: config().poolSecretFile, log });
  const backend = await createSimulator({
    stateDir,
    memoryBytes: config().simulatorMemory,
    memoryDirs: [config().memoryDir, stateDir],
    timeoutMs: () => config().backendTimeout * 1000,
    onStarted,
  });
  try {
    const engine = await openHostEngine({
      uuid: identity.uuid,
      name: hostName,
      url: () => url,
      config,
      compressorWarning: () => loaded().valueWarnings['migration-compressor'],
      store,
      backend,
      secrets: identity.secrets,
      log,
    });
    await engine.recover();
    const role = await takeRole({ config, log, store, engine, identity, port: door.port, version: ownVersion() });
    door.serve({ onRequest: role.onRequest, onChannel: engine.rendezvous.deliver });
    return {
      url,
      reload: engine.reload,
      async close() {
        await engine.close();
        await role.close();
        await door.close();
        await backend.close();
        await store.close();
      },
    };
  } catch (error) {
    await backend.discard();
    throw error;
  }
}

type Served = Pick<ListenerDeps, 'onRequest' | 'onChannel'>;

/** The port, and what is behind it once that is known. */
interface Door {
  readonly port: number;
  serve(served: Served): void;
  close(): Promise<void>;
}

/**
 * Take the port before anything is started that would be left behind without it. Who connects waits until the host is whole: a
 * peer that is refused would take it for dead, and one that is heard before the journal was read would be told what is not so.
 */
async function openDoor(config: () => Config, log: RootLog): Promise<Door> {
  let begin: (served: Served) => void = () => undefined;
  let served: Served | undefined;
  const ready = new Promise<void>((resolve) => {
    begin = (given) => {
      served = given;
      resolve();
    };
  });
  const listener = createListener({
    log,
    ready,
    keepAliveMs: () => config().keepaliveTime * 1000,
    onRequest: (request, response) => served?.onRequest(request, response),
    onChannel: (head, socket) => served?.onChannel(head, socket),
  });
  const port = await listener.listen(config().port, config().listenAddress);
  return { port, serve: begin, close: listener.close };
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

function warnOfListening(address: string, log: RootLog): void {
  const where = isEveryAddress(address) ? 'every address of this machine' : address;
  log.warn(
    `listening on ${where} without TLS: whoever can see the network can read passwords, sessions and the memory of migrating VMs, and act with them`,
  );
}

/** The file goes with the process, however that ends, unless it is killed, or another daemon has the file by then. */
function keepPidfile(file: string): void {
  const text = `${process.pid}\n`;
  writeTextFile(file, text);
  process.on('exit', () => {
    try {
      if (readTextFile(file) === text) rmSync(file);
    } catch {
      // It is gone, or no file of ours.
    }
  });
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

/** What the parameters of a XenAPI error have no room for is said as well. */
function explained(error: unknown): string {
  const cause = error instanceof XapiError && typeof error.cause === 'string' ? `: ${error.cause}` : '';
  return messageOf(error) + cause;
}

main(process.argv.slice(2)).catch((error: unknown) => fail(explained(error)));
