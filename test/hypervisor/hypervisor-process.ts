/** A real hypervisor program for a test, with its directories, and what tests do with domains. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { connectHypervisor, type HypervisorClient } from '../../src/backend/simulator/client.js';
import type { DomainHandle } from '../../src/base/domain.js';
import type { SimulatedDomain, SimulatedSpec } from '../../src/base/protocol/hypervisor-protocol.js';

export const mebibyte = 1024 * 1024;
export const hypervisorProgram = fileURLToPath(new URL('../../src/hypervisor/main.js', import.meta.url));

export interface HypervisorProcess {
  readonly directory: string;
  readonly socketPath: string;
  readonly child: ChildProcess;
  /** Attached as a daemon. */
  readonly client: HypervisorClient;
  connect(role: 'daemon' | 'helper'): Promise<HypervisorClient>;
  /** The memory files that exist. */
  memoryFiles(): string[];
  stop(): Promise<void>;
}

/** Start a hypervisor in a new directory, or in one that an earlier one left. */
export async function startHypervisor({
  memory = 256 * mebibyte,
  directory = makeDirectory(),
  memoryDirectory = path.join(directory, 'memory'),
  nodeArgs = [] as readonly string[],
} = {}): Promise<HypervisorProcess> {
  const socketPath = path.join(directory, 'hv.sock');
  fs.mkdirSync(memoryDirectory, { recursive: true });
  const argv = [
    '--socket',
    socketPath,
    '--state',
    directory,
    '--memory-dir',
    memoryDirectory,
    '--memory',
    String(memory),
  ];
  const child = spawn(process.execPath, [...nodeArgs, hypervisorProgram, ...argv], { detached: true, stdio: 'ignore' });
  const clients: HypervisorClient[] = [];
  const connect = async (role: 'daemon' | 'helper'): Promise<HypervisorClient> => {
    const client = await connectHypervisor(socketPath, role);
    clients.push(client);
    return client;
  };
  const client = await eventually(() => connect('daemon').catch(() => undefined));
  return {
    ...{ directory, socketPath, child, client, connect },
    memoryFiles: () =>
      (fs.readdirSync(memoryDirectory, { recursive: true }) as string[]).filter((name) => name.endsWith('.memory')),
    stop: async () => {
      for (const each of clients) await each.close();
      await kill(child);
      fs.rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A new directory for one test. */
export function makeDirectory(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'xenferry-hv-'));
}

/** End a child program, if it has not ended. */
export async function kill(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill(signal);
  await exit;
}

/** Ask again until there is an answer; the test's own time limit ends it. */
export async function eventually<T>(ask: () => T | undefined | Promise<T | undefined>): Promise<T> {
  // Nobody waits so long: a test that has failed is not to keep the run from ending.
  const until = Date.now() + 60_000;
  while (Date.now() < until) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await delay(5);
  }
  throw new Error('what was waited for has not come within 60 s');
}

/** A small domain of every kind of memory that writes a lot. */
export function specOf(over: Partial<SimulatedSpec> = {}): SimulatedSpec {
  return {
    uuid: 'c0ffee00-0000-4000-8000-000000000001',
    name: 'guest',
    memoryBytes: 8 * mebibyte,
    vcpus: 1,
    profile: { zero: 0.25, program: 0.25, text: 0.25, random: 0.25 },
    workload: { dirtyPagesPerSecond: 5000, workingSet: 0.5 },
    seed: 7,
    vgpus: [],
    ...over,
  };
}

/** A domain after boot, paused. */
export async function boot(client: HypervisorClient, over: Partial<SimulatedSpec> = {}): Promise<DomainHandle> {
  const { result: handle } = await client.call('create', { spec: specOf(over) });
  await client.call('build', { handle });
  return handle;
}

/** What the list says about a domain. */
export async function infoOf(client: HypervisorClient, handle: DomainHandle): Promise<SimulatedDomain | undefined> {
  const { result } = await client.call('list', {});
  return result.find((domain) => domain.handle.domid === handle.domid);
}

/** Let a paused domain run until it has written so many pages more, then pause it. */
export async function runFor(client: HypervisorClient, handle: DomainHandle, pages: number): Promise<void> {
  const before = (await infoOf(client, handle))?.pagesWritten ?? 0;
  await client.call('unpause', { handle, token: `run after ${before}` });
  await eventually(async () => ((await infoOf(client, handle))?.pagesWritten ?? 0) >= before + pages || undefined);
  await client.call('pause', { handle });
}

/** The error's code and text, of a promise that has to fail. */
export async function failureOf(promise: Promise<unknown>): Promise<{ code: string; params: readonly string[] }> {
  try {
    await promise;
  } catch (error) {
    return error as { code: string; params: readonly string[] };
  }
  throw new Error('it did not fail');
}
