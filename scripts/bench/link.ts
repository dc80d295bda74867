/**
 * A link of a given rate: two network namespaces with a pair of virtual interfaces between them, limited in both
 * directions. The benchmark runs itself anew inside the first one, where the first host and the client are; the second
 * host is in the other.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import type { NetworkPlace } from '../../src/cli/local-pool/local-host.js';
import type { Link } from './options.js';

const run = promisify(execFile);

const prefix = 'xenferry-bench-';
const addresses = ['10.213.0.1', '10.213.0.2'] as const;
const interfaceName = 'link0';
/** Holds a whole segment of the largest size; what waits longer is dropped, as a switch does. */
const shaping = ['burst', '256kb', 'latency', '50ms'];

/**
 * The hosts' places, for a process in the first namespace.
 * @param peer the name of the other one
 */
export function linkPlaces(peer: string): [NetworkPlace, NetworkPlace] {
  const [first, second] = addresses;
  return [
    { address: first, enter: [] },
    { address: second, enter: ['ip', 'netns', 'exec', peer] },
  ];
}

/**
 * Run this program again between two namespaces of its own; they are gone when this resolves, and what still ran in them.
 * @param args of the program; `--peer` and the second namespace's name are put behind them
 * @returns the program's exit status
 * @throws an Error that says what is missing where namespaces cannot be made
 */
export async function runOnLink(rate: Link, args: readonly string[], signal: AbortSignal): Promise<number> {
  if (process.getuid?.() !== 0) throw new Error(`--link ${rate} needs root, to make network namespaces`);
  const names = ['a', 'b'].map((end) => `${prefix}${process.pid}-${end}`) as [string, string];
  try {
    await removeLeftovers();
    await makeLink(names, rate);
    return await runInside(names, args, signal);
  } finally {
    for (const name of names) await removeNamespace(name);
  }
}

async function ip(...args: string[]): Promise<string> {
  return tool('ip', args);
}

async function tool(program: 'ip' | 'tc', args: readonly string[]): Promise<string> {
  try {
    return (await run(program, args)).stdout;
  } catch (error) {
    const { code, stderr } = error as { code?: unknown; stderr?: string };
    const why =
      code === 'ENOENT' ? 'there is no such program (package iproute2)' : (stderr ?? '').trim() || String(error);
    throw new Error(`--link is not possible here: ${program} ${args.join(' ')}: ${why}`);
  }
}

async function makeLink(names: readonly [string, string], rate: Link): Promise<void> {
  const [one, other] = names;
  for (const name of names) await ip('netns', 'add', name);
  const end = (name: string) => ['name', interfaceName, 'netns', name];
  await ip('link', 'add', ...end(one), 'type', 'veth', 'peer', ...end(other));
  for (const [i, name] of names.entries()) {
    await ip('-n', name, 'address', 'add', `${addresses[i]}/24`, 'dev', interfaceName);
    await ip('-n', name, 'link', 'set', 'lo', 'up');
    await ip('-n', name, 'link', 'set', interfaceName, 'up');
    await tool('tc', ['-n', name, 'qdisc', 'add', 'dev', interfaceName, 'root', 'tbf', 'rate', rate, ...shaping]);
  }
}

async function runInside(
  [one, other]: readonly [string, string],
  args: readonly string[],
  signal: AbortSignal,
): Promise<number> {
  signal.throwIfAborted();
  const command = [process.execPath, process.argv[1] as string, ...args, '--peer', other];
  // The end of its standard input tells it that this process is gone.
  const child = spawn('ip', ['netns', 'exec', one, ...command], { stdio: ['pipe', 'inherit', 'inherit'] });
  const interrupt = () => void child.kill('SIGINT');
  signal.addEventListener('abort', interrupt);
  const [status] = (await once(child, 'exit')) as [number | null];
  signal.removeEventListener('abort', interrupt);
  return status ?? 1;
}

/** Of runs that were killed. */
async function removeLeftovers(): Promise<void> {
  for (const line of (await ip('netns', 'list')).split('\n')) {
    const [name, pid] = /^xenferry-bench-(\d+)-[ab]\b/.exec(line) ?? [];
    if (name !== undefined && !isAlive(Number(pid))) await removeNamespace(name);
  }
}

async function removeNamespace(name: string): Promise<void> {
  const pids = await ip('netns', 'pids', name).catch(() => '');
  for (const pid of pids.split('\n').filter(Boolean)) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has just ended.
    }
  }
  await ip('netns', 'delete', name).catch(() => undefined);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
