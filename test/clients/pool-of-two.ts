/** A coordinator and a member that share a port, each at an address of its own, so that clients find one from the other. */
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Credentials } from '../../src/cli/client/xapi-client.js';
import { type LocalHost, startHost } from '../../src/cli/local-pool/local-host.js';

export interface PoolOfTwo {
  readonly credentials: Credentials;
  readonly member: LocalHost;
  /** Kill the coordinator's daemon, as a crash would; its hypervisor runs on. */
  killCoordinator(): Promise<void>;
  /** Start it again as it was; returns when it serves. */
  startCoordinator(): Promise<void>;
  stop(): Promise<void>;
}

/** @throws an Error that says what did not start */
export async function startPoolOfTwo(): Promise<PoolOfTwo> {
  const state = await mkdtemp(join(tmpdir(), 'xenferry-two-'));
  const port = await freePort();
  const secretFile = join(state, 'secret');
  const running: LocalHost[] = [];
  const start = async (name: string, address: string, coordinator?: string): Promise<LocalHost> => {
    const init = {
      name,
      directory: join(state, name),
      port,
      secretFile,
      config: { 'listen-address': address },
      warn: () => {},
      ...(coordinator === undefined ? {} : { coordinator }),
    };
    const host = await startHost(init, new AbortController().signal);
    running.push(host);
    return host;
  };
  const stop = async (): Promise<void> => {
    await Promise.all(running.map((host) => host.stop()));
    await rm(state, { recursive: true, force: true });
  };
  try {
    let coordinator = await start('host1', '127.0.0.1');
    const member = await start('host2', '127.0.0.2', coordinator.url);
    const password = (await readFile(join(coordinator.directory, 'root-password'), 'utf8')).trim();
    return {
      credentials: { url: coordinator.url, username: 'root', password },
      member,
      async killCoordinator() {
        process.kill(coordinator.pid, 'SIGKILL');
        while (isAlive(coordinator.pid)) await delay(10);
        running.splice(running.indexOf(coordinator), 1);
      },
      async startCoordinator() {
        coordinator = await start('host1', '127.0.0.1');
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await once(server.close(), 'close');
  return port;
}
