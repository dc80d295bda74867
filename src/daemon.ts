/**
 * The daemon as a whole, put together: takes the port, opens store and back end, and then the layers above them, from
 * the host up to what it is in its pool.
 */
import { rmSync } from 'node:fs';
import { openBackEnd } from './back-end.js';
import type { Config, LoadedConfig } from './base/config/config.js';
import type { Log } from './base/log.js';
import { readTextFile, writeTextFile } from './base/named-file.js';
import { takeLock } from './base/process/lock.js';
import { isEveryAddress, isLoopback } from './base/server-address.js';
import { makeDatabaseDirectory } from './base/store/format.js';
import { openStore } from './base/store/store.js';
import { ownVersion } from './base/version.js';
import { openZstd } from './base/zstd/zstd.js';
import { openIdentity } from './host/service/identity.js';
import { createListener, type ListenerDeps } from './wire/connection/listener.js';

/** A running daemon, as its signals see it. */
export interface Daemon {
  readonly url: string;
  /** Take the values of the configuration that may change. */
  reload(): Promise<void>;
  /** End everything in order. */
  close(): Promise<void>;
}

export interface DaemonInit {
  /** The configuration as it was read last. */
  readonly loaded: () => LoadedConfig;
  readonly log: Log;
  /** The database cannot be written any more. */
  readonly onStoreFailed: (error: unknown) => void;
  /** Called with the process of a hypervisor that was not there before. */
  readonly onHypervisorStarted: (pid: number) => void;
}

/**
 * Start the daemon. Most of the program is read here first: whoever asks for help, or starts it where it cannot run,
 * need not wait for that.
 * @throws Error that says why it cannot start
 */
export async function startDaemon(init: DaemonInit): Promise<Daemon> {
  const { log } = init;
  const config = (): Config => init.loaded().config;
  const { address, pidfile, listenAddress } = config();
  const door = await openDoor(config, log);
  log.info(`memory is compressed by ${(await openZstd()).way}`);
  if (pidfile !== '') keepPidfile(pidfile);
  if (!isLoopback(listenAddress)) warnOfListening(listenAddress, log);
  const url = `http://${address.includes(':') ? `[${address}]` : address}:${door.port}`;
  lockDatabase(config().databasePath);
  const [{ openHostEngine }, { takeRole }] = await Promise.all([import('./host/engine.js'), import('./role.js')]);
  const store = openStore(config().databasePath, { reserve: config().databaseReserve, onFailed: init.onStoreFailed });
  const identity = await openIdentity({
    store,
    coordinator: config().coordinator,
    secretFile: config().poolSecretFile,
    log,
  });
  const { backend, discard } = await openBackEnd(init);
  try {
    const engine = await openHostEngine({
      uuid: identity.uuid,
      name: config().hostName,
      url: () => url,
      config,
      compressorWarning: () => init.loaded().valueWarnings['migration-compressor'],
      store,
      backend,
      secrets: identity.secrets,
      log,
    });
    await engine.recover();
    const role = await takeRole({
      config,
      log,
      store,
      engine,
      backend,
      identity,
      port: door.port,
      version: ownVersion(),
    });
    door.serve({ onRequest: role.onRequest, onChannel: engine.rendezvous.deliver });
    return { url, reload: engine.reload, close: () => closeAll(engine, role, door, backend, store) };
  } catch (error) {
    await discard();
    throw error;
  }
}

async function closeAll(...parts: readonly { close(): Promise<void> }[]): Promise<void> {
  for (const part of parts) await part.close();
}

/** Make the database's directory if need be, and have it alone. */
function lockDatabase(databasePath: string): void {
  makeDatabaseDirectory(databasePath);
  if (takeLock('database', databasePath) === undefined) {
    throw new Error(`another xenferryd runs with the database ${databasePath}`);
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
async function openDoor(config: () => Config, log: Log): Promise<Door> {
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

function warnOfListening(address: string, log: Log): void {
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
      // The file is gone, or another daemon's.
    }
  });
}
