/** One host of a local pool: a daemon of its own, and the hypervisor that the daemon starts. */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { defined } from '../../base/defined.js';
import { configOf, endHypervisor, endSeconds, pidfileOf } from './local-processes.js';

/** Settings that a host is made from. */
export interface HostInit {
  readonly name: string;
  /** Directory for the host's configuration and state, which is made. */
  readonly directory: string;
  readonly port: number;
  /** The coordinator's URL, for a member. */
  readonly coordinator?: string;
  /** Place of the host on the network; the loopback address unless given. */
  readonly place?: NetworkPlace;
  readonly secretFile: string;
  /** Further keys of xenopsd.conf. */
  readonly config: Readonly<Record<string, string>>;
  /** Variables for the environment of its daemon, and so of every process that it starts, beyond our own. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Told when the daemon ends and nobody ended it here. */
  readonly warn: (text: string) => void;
}

/** Place of a host on this machine's networks. */
export interface NetworkPlace {
  /** Address at which the host listens. */
  readonly address: string;
  /** Beginning of the daemon's command line, such as that which enters a network namespace. */
  readonly enter: readonly string[];
}

export interface LocalHost {
  readonly name: string;
  readonly directory: string;
  /** The path of its xenopsd.conf. */
  readonly config: string;
  readonly url: string;
  /** Process id of the host's daemon. */
  readonly pid: number;
  /** End the daemon, then the hypervisor with its domains; returns when both are gone. */
  stop(): Promise<void>;
}

const daemonProgram = fileURLToPath(new URL('../../main.js', import.meta.url));

/** Time in which a daemon listens, in seconds. */
const startSeconds = 30;

/**
 * Write a host's configuration, start its daemon and wait until it serves.
 * @param signal gives up waiting
 * @throws an Error with what the daemon last said, when it ends or does not serve in time
 */
export async function startHost(init: HostInit, signal: AbortSignal): Promise<LocalHost> {
  const config = configOf(init.directory);
  await mkdir(join(init.directory, 'xenopsd.conf.d'), { recursive: true, mode: 0o700 });
  await writeFile(config, configText(init));
  signal.throwIfAborted();
  const daemon = startDaemon(init, config);
  let stopping = false;
  const stop = async () => {
    stopping = true;
    daemon.kill();
    await daemon;
    await endHypervisor(init.directory);
  };
  try {
    const url = await listening(daemon, init.name, signal);
    void daemon.then((end) => {
      if (!stopping) init.warn(`the daemon of ${init.name} ${endIn(end)}`);
    });
    return { name: init.name, directory: init.directory, config, url, pid: daemon.pid as number, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

type Daemon = ReturnType<typeof startDaemon>;

function startDaemon({ place, environment = {} }: HostInit, config: string) {
  const [program = '', ...args] = [...(place?.enter ?? []), process.execPath, daemonProgram, '--config', config];
  return execa(program, args, {
    // In a process group of its own, so that Ctrl-C reaches only us, and we end it in order.
    detached: true,
    forceKillAfterDelay: endSeconds * 1000,
    env: environment,
    stdin: 'ignore',
    all: true,
    buffer: false,
    reject: false,
  });
}

function configText({ name, directory, port, coordinator, place, secretFile, config }: HostInit): string {
  const entries = {
    'state-dir': directory,
    'config-dir': join(directory, 'xenopsd.conf.d'),
    'listen-address': place?.address ?? '127.0.0.1',
    port: String(port),
    'host-name': name,
    ...defined({ coordinator }),
    'pool-secret-file': secretFile,
    pidfile: pidfileOf(directory),
    log: join(directory, 'xenferryd.log'),
    ...config,
  };
  const lines = Object.entries(entries).map(([key, value]) => `${key} = "${value}"\n`);
  return lines.join('');
}

/** The URL in the line that the daemon prints when it serves. */
async function listening(daemon: Daemon, name: string, signal: AbortSignal): Promise<string> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(startSeconds * 1000)]);
  const said: string[] = [];
  const failed = (why: string) =>
    new Error(`the daemon of ${name} ${why}${said.length > 0 ? `:\n${said.join('\n')}` : ''}`);
  return new Promise((resolve, reject) => {
    void daemon.then((end) => reject(failed(endIn(end))));
    limit.addEventListener('abort', () => reject(signal.aborted ? signal.reason : failed('did not listen in time')));
    createInterface({ input: daemon.all }).on('line', (line) => {
      said.push(line);
      if (said.length > 20) said.shift();
      const url = /^xenferryd listening on (http:\/\/\S+)$/.exec(line)?.[1];
      if (url !== undefined) resolve(url);
    });
  });
}

/** How a daemon has ended, in words. */
function endIn({ exitCode, signal, originalMessage }: Awaited<Daemon>): string {
  if (exitCode === undefined && signal === undefined) return `could not be started: ${originalMessage}`;
  return `ended with ${signal ?? `status ${exitCode}`}`;
}
