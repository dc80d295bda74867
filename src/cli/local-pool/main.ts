#!/usr/bin/env node
/** The program xenferry-pool: whole pools on this machine, for tests and demonstrations. */
import { resolve } from 'node:path';
import { defined } from '../../base/defined.js';
import { messageOf } from '../../base/errors.js';
import { writeOutput } from '../../base/output.js';
import { compileInForeground } from '../../base/process/exit-hang.js';
import { ownVersion } from '../../base/version.js';
import { ask } from '../client/ask.js';
import { type LocalPool, startLocalPool } from './local-pool.js';
import { endRun, type ListedRun, type LocalRegistry, openRegistry, registryDirectory } from './local-registry.js';
import { type PoolCommand, parsePoolCommand, poolHelp } from './options.js';
import { ownCommand } from './own-command.js';
import { prepareGuest } from './qemu-guest.js';

function asJson(pools: readonly LocalPool[]): string {
  const shown = pools.map(({ credentials: { url, username, password }, hosts, vms }) => ({
    coordinator: url,
    username,
    password,
    hosts: hosts.map((host) => ({ name: host.name, uuid: host.uuid, url: host.url, config: host.config })),
    vms,
  }));
  return JSON.stringify({ pools: shown });
}

function asText(pools: readonly LocalPool[], untilEof: boolean): string {
  const blocks = pools.map(({ credentials: { url, username, password }, hosts, vms }) =>
    [
      ...hosts.map((host) => `${host.name}  ${host.url}  ${host.config}`),
      vms.length === 0 ? 'no VMs' : `VMs: ${vms.map(({ name }) => name).join(', ')}`,
      '',
      'To use it with xe, paste:',
      `  export XE_SERVER=${url} XE_USER=${username} XE_PASSWORD=${password}`,
      `  ${ownCommand('xe')} vm-list`,
      '',
    ].join('\n'),
  );
  return `${blocks.join('\n')}\n${untilEof ? 'Close standard input' : 'Press Ctrl-C'} to end it all.\n`;
}

/** Calls back once, at the first sign that all is to end. */
function onEnd(untilEof: boolean, end: () => void): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end);
  if (untilEof) process.stdin.on('end', end).on('error', end).resume();
}

async function main(args: readonly string[]): Promise<number> {
  const command = parsePoolCommand(args);
  const registry = openRegistry(registryDirectory(process.env));
  switch (command.kind) {
    case 'help':
      return writeOutput('xenferry-pool', poolHelp);
    case 'version':
      return writeOutput('xenferry-pool', `xenferry-pool ${ownVersion()}\n`);
    case 'list':
      return list(registry, command.json);
    case 'down':
      return down(registry, command.names);
    case 'up':
      await removeLeftovers(registry, !command.json && !command.untilEof);
      return up(registry, command);
  }
}

async function up(
  registry: LocalRegistry,
  { options, guest: name, json, untilEof }: Extract<PoolCommand, { kind: 'up' }>,
): Promise<number> {
  const ending = new AbortController();
  const ended = new Promise<void>((resolve) => {
    onEnd(untilEof, () => {
      ending.abort(new Error('ended before all had started'));
      resolve();
    });
  });
  const { signal } = ending;
  const guest =
    name === undefined
      ? undefined
      : await prepareGuest({
          name,
          environment: process.env,
          say: warn,
          signal,
          ...defined({ dirtyRate: options.dirtyRate }),
        });
  const config = { ...options.config, ...guest?.config };
  const { pools, stop } = await startLocalPool({ ...options, ...guest, config, registry, warn, signal });
  process.stdout.write(json ? `${asJson(pools)}\n` : asText(pools, untilEof));
  // Even with every daemon gone, we stay until we are told to end.
  const idle = setInterval(() => undefined, 2 ** 30);
  await ended;
  clearInterval(idle);
  if (!json) process.stdout.write('Ending...\n');
  await stop();
  return 0;
}

async function list(registry: LocalRegistry, json: boolean): Promise<number> {
  const runs = await registry.list();
  const lines = runs.map(({ name, state, hosts, coordinators, directory }) => {
    const what = state === 'left' ? 'left by a run that was killed' : state === 'runs' ? 'runs' : 'runs elsewhere';
    return [name, what, `hosts: ${hosts.length}`, ...coordinators, directory].join('  ');
  });
  const shown = runs.map(({ name, state, hosts, coordinators, directory }) => {
    return { name, state, hosts: hosts.length, coordinators, directory };
  });
  return writeOutput('xenferry-pool', `${json ? JSON.stringify(shown) : lines.join('\n') || 'no pools'}\n`);
}

/** @throws an Error for a name that there is not, before anything is ended */
async function down(registry: LocalRegistry, names: readonly string[]): Promise<number> {
  const runs = await registry.list();
  const isNamed = (run: ListedRun, name: string) => run.name === name || run.directory === resolve(name);
  const unknown = names.find((name) => !runs.some((run) => isNamed(run, name)));
  if (unknown !== undefined) {
    const there = runs.map(({ name }) => name).join(', ');
    throw new Error(`there is no ${unknown}; ${there === '' ? 'there are no pools' : `there are: ${there}`}`);
  }
  const named = names.length === 0 ? runs : runs.filter((run) => names.some((name) => isNamed(run, name)));
  for (const run of named) {
    await endRun(registry, run);
    process.stdout.write(`ended ${run.name}\n`);
  }
  return named.length === 0 ? writeOutput('xenferry-pool', 'no pools\n') : 0;
}

/** Offer to remove what runs that were killed have left; where nobody can answer, say how. */
async function removeLeftovers(registry: LocalRegistry, mayAsk: boolean): Promise<void> {
  const left = (await registry.list()).filter(({ state }) => state === 'left');
  for (const run of left) {
    const what = `${run.name}, which a run that was killed has left (processes: ${run.processes}, ${run.directory})`;
    if (!mayAsk || !process.stdin.isTTY || !process.stderr.isTTY) {
      warn(`there is ${what}; to remove it: ${ownCommand('xenferry-pool')} down ${run.name}`);
      continue;
    }
    if (/^y(es)?$/i.test((await ask(`There is ${what}. Remove it? [y/N] `)).trim())) await endRun(registry, run);
  }
}

function warn(text: string): void {
  process.stderr.write(`xenferry-pool: ${text}\n`);
}

compileInForeground();
// Whoever read the output may have seen enough; what was started still has to be ended in order.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
try {
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`xenferry-pool: ${messageOf(error)}\n`);
  process.exit(1);
}
