/**
 * The benchmark: whole migrations between two daemons beside bare pipelines of the same bytes, then the XenAPI.
 * docs/performance.md says how to read it. Figures on standard output, what goes on on standard error.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../../src/base/errors.js';
import { compileInForeground } from '../../src/base/process/exit-hang.js';
import { casesOf, isQemuCase, scaleMemory, scaleVms, usualCases } from './cases.js';
import { linkPlaces, runOnLink } from './link.js';
import { type BenchOptions, help, parseOptions } from './options.js';
import { findQemu, qemuCases } from './qemu.js';
import { describeRun, formatTable, type Samples, summarize } from './report.js';
import { runRounds } from './rounds.js';

const loopback = { address: '127.0.0.1', enter: [] };

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const say = (text: string): void => void process.stderr.write(`${text}\n`);

async function benchMigrations(options: BenchOptions, signal: AbortSignal): Promise<void> {
  const { rounds, memory, json, link, peer } = options;
  const cases = casesOf(options.cases ?? usualCases(link));
  const single = [...new Set([...cases.single, ...(options.qemu ? qemuCases : [])])];
  const scale = options.scale ? casesOf(['scale']).scale : cases.scale;
  const qemu = single.some(isQemuCase) ? await findQemu(signal) : undefined;
  const places = peer === undefined ? ([loopback, loopback] as const) : linkPlaces(peer);
  const common = { rounds, places, signal, say };
  const show = (samples: Samples, vms: number, each: number) => {
    const results = summarize(samples, vms * each);
    if (json) for (const result of results) print(JSON.stringify(result));
    else print(`${describeRun({ memory: each, vms, rounds, link, qemu })}\n\n${formatTable(results)}\n`);
  };
  if (single.length > 0) show(await runRounds({ ...common, cases: single, vms: 1, memory }), 1, memory);
  if (scale.length === 0) return;
  const ofMany = await runRounds({ ...common, cases: scale, vms: scaleVms, memory: scaleMemory });
  show(ofMany, scaleVms, scaleMemory);
}

/** Keys that every object has and the XenAPI does not. */
const noFigures = {
  gib_per_s: null,
  cpu_s_per_gib: null,
  ratio: null,
  downtime_ms: null,
  vs_pipe: null,
  vs_pipe_cpu: null,
};

/** @returns the exit status */
async function benchApi(json: boolean, signal: AbortSignal): Promise<number> {
  signal.throwIfAborted();
  say('measuring the XenAPI');
  const program = fileURLToPath(new URL('api.js', import.meta.url));
  const child = spawn(process.execPath, [program, ...(json ? ['--json'] : [])], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const interrupt = () => void child.kill();
  signal.addEventListener('abort', interrupt);
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const [status] = (await once(child, 'close')) as [number | null];
  signal.throwIfAborted();
  if (said === '') throw new Error('the benchmark of the XenAPI has failed');
  print(json ? JSON.stringify({ case: 'api', ...noFigures, api: JSON.parse(said) }) : said.trimEnd());
  return status ?? 1;
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === undefined) {
    process.stdout.write(help);
    return 0;
  }
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => interrupted.abort(new Error(`ended by ${signal}`)));
  }
  const { link, peer } = options;
  if (link !== undefined && peer === undefined) return runOnLink(link, args, interrupted.signal);
  if (peer !== undefined) process.stdin.resume().on('end', () => interrupted.abort(new Error('nobody waits any more')));
  if (options.migrations) await benchMigrations(options, interrupted.signal);
  return options.api ? benchApi(options.json, interrupted.signal) : 0;
}

compileInForeground();
try {
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`bench: ${messageOf(error)}\n`);
  process.exit(1);
}
