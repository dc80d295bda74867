/**
 * The full sweep: `npm run test:faults -- [--backend qemu] [--only REGEX] [--pairs N]`. Prints each failure with the last log lines of both
 * sides, then a table of steps and faults for each compressor, and as the last line `N passed, N failed`.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { qemuProgram } from '../backend/qemu/memtest.js';
import { busyCases, startBusyHosts } from './busy.js';
import { allCases, backends, type Case } from './cases.js';
import { handoverCases, startHandovers } from './handover.js';
import { inWords } from './pair.js';
import { type Result, startBench } from './sweep.js';
import { table, type Verdict } from './table.js';

const help = `Usage: npm run test:faults -- [--backend simulator|qemu] [--only REGEX] [--pairs N] [--list]
  --backend B   what the hosts run their VMs by: simulator where absent; qemu needs QEMU 9 and memtest86+
  --only REGEX  the cases whose names match, such as 'stream, source 3: kill -9'
  --pairs N     pairs of hosts side by side; twice the number of cores
  --list        print the names of the cases, and run none
`;

/** Only root can give a host a small disk of its own. */
const isRoot = process.getuid?.() === 0;

function canRun({ fault }: Case): boolean {
  return fault.act.kind !== 'disk' || isRoot;
}

interface Runner<C> {
  run(one: C): Promise<Result>;
  stop(): Promise<void>;
}

interface Run<C> {
  readonly queue: C[];
  readonly start: () => Promise<Runner<C>>;
  readonly verdicts: Map<string, Verdict>;
  readonly stop: AbortSignal;
}

/** One pair takes case after case; where one breaks it, a fresh one takes the next. */
async function work<C extends { readonly id: string }>({ queue, start, verdicts, stop }: Run<C>): Promise<void> {
  let bench: Runner<C> | undefined;
  try {
    for (let one = queue.shift(); one !== undefined && !stop.aborted; one = queue.shift()) {
      const result = await attempt(one, async () => {
        bench ??= await start();
        return bench;
      });
      verdicts.set(one.id, result.problems.length === 0 ? 'ok' : 'FAIL');
      print(result);
      if (result.problems.length > 0) {
        await bench?.stop().catch((error: unknown) => process.stderr.write(`${inWords(error)}\n`));
        bench = undefined;
      }
    }
  } finally {
    await bench?.stop();
  }
}

async function attempt<C extends { readonly id: string }>(one: C, bench: () => Promise<Runner<C>>): Promise<Result> {
  try {
    return await (await bench()).run(one);
  } catch (error) {
    return { id: one.id, problems: [`the pair does not start: ${inWords(error)}`], ended: '', seconds: 0, logs: [] };
  }
}

function print({ id, problems, ended, seconds, logs }: Result): void {
  if (problems.length === 0) process.stdout.write(`ok    ${id} (${seconds.toFixed(1)} s; ${ended})\n`);
  else process.stdout.write(`FAIL  ${id} (${seconds.toFixed(1)} s; ${ended})\n${indent([...problems, ...logs])}\n`);
}

function indent(lines: readonly string[]): string {
  return lines.map((line) => `      ${line.replaceAll('\n', '\n        ')}`).join('\n');
}

async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      backend: { type: 'string', default: 'simulator' },
      only: { type: 'string', default: '' },
      pairs: { type: 'string', default: String(2 * availableParallelism()) },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return say(help);
  if (!/^[1-9]\d?$/.test(values.pairs)) throw new Error(`--pairs is a number from 1 to 99, not '${values.pairs}'`);
  const only = new RegExp(values.only);
  const backend = backends.find((name) => name === values.backend);
  if (backend === undefined) throw new Error(`--backend is ${backends.join(' or ')}, not '${values.backend}'`);
  const all = allCases(backend);
  const chosen = all.filter(({ id }) => only.test(id));
  const ofSimulator = <C extends { readonly id: string }>(cases: readonly C[]) =>
    backend === 'simulator' ? cases.filter(({ id }) => only.test(id)) : [];
  const handovers = ofSimulator(handoverCases());
  const busy = ofSimulator(busyCases());
  if (values.list) return say([...chosen, ...handovers, ...busy].map(({ id }) => `${id}\n`).join(''));
  if (chosen.length + handovers.length + busy.length === 0) throw new Error(`no case matches ${values.only}`);
  if (backend === 'qemu' && !values.list && qemuProgram === undefined)
    throw new Error('no QEMU 9 with memtest86+ is installed');
  const verdicts = new Map<string, Verdict>();
  for (const one of chosen) if (!canRun(one)) verdicts.set(one.id, 'not run');
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const queue = chosen.filter(canRun);
  const common = { verdicts, stop: stop.signal };
  const sideBySide = (count: number, run: () => Promise<void>) =>
    Promise.all(Array.from({ length: Math.min(Number(values.pairs), count) }, run));
  await sideBySide(queue.length, () => work({ ...common, queue, start: () => startBench(isRoot, backend) }));
  await sideBySide(handovers.length, () => work({ ...common, queue: handovers, start: startHandovers }));
  await sideBySide(busy.length, () => work({ ...common, queue: busy, start: startBusyHosts }));
  say(`\n${table(all, verdicts)}\n\n`);
  const count = (verdict: Verdict) => [...verdicts.values()].filter((each) => each === verdict).length;
  if (count('not run') > 0) say(`n/r: ${count('not run')} not run here, as only root can give a host a small disk\n`);
  say(`${count('ok')} passed, ${count('FAIL')} failed\n`);
  return count('FAIL') > 0 || stop.signal.aborted ? 1 : 0;
}

function say(text: string): 0 {
  process.stdout.write(text);
  return 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`test:faults: ${inWords(error)}\n`);
  process.exitCode = 1;
}
