/**
 * The benchmark of the XenAPI's front and database: a daemon with 10,000 VMs in its database, asked over HTTP by
 * another process on the same machine. The yardstick of small calls is a bare jayson HTTP server that echoes, measured
 * with the same client in the same run, in turns with the daemon.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { nullLog } from '../../src/base/log.js';
import { openStore } from '../../src/base/store/store.js';
import { type Database, openDatabase } from '../../src/pool/database/database.js';
import { type Client, openClient, startDaemon, startEcho } from './servers.js';

const help = `Usage: npm run --silent bench:api -- [OPTION]...

Measures the XenAPI with many VMs in the database. The exit status is 0 if every goal is met.

  --vms N      how many; 10000
  --clients N  clients that wait for events; 200
  --calls N    small calls of each round; 2000
  --rounds N   rounds of small calls, daemon and echo in turns; 5
  --json       print one line of JSON and nothing else
`;

/** Times in milliseconds, rates in calls a second. */
interface Figures {
  readonly vms: number;
  readonly startUpMs: number;
  readonly getAllRecordsMs: number;
  readonly getAllRecordsBytes: number;
  readonly eventFromMs: number;
  /** Time until the last of the waiting clients has heard of one change. */
  readonly eventToAllMs: number;
  /** CPU time of the daemon while all of them wait and nothing happens, as a share of one CPU. */
  readonly waitingCpu: number;
  readonly callsPerSecond: number;
  readonly writesPerSecond: number;
  readonly echoPerSecond: number;
  /** Median of calls to echo, each round by itself. */
  readonly ratio: number;
}

interface Goal {
  readonly figure: keyof Figures;
  readonly what: string;
  readonly most?: number;
  readonly least?: number;
}

const goals: readonly Goal[] = [
  { figure: 'startUpMs', what: 'start-up, ms' },
  { figure: 'getAllRecordsMs', what: 'VM.get_all_records, ms', most: 2000 },
  { figure: 'eventFromMs', what: 'event.from of one change, ms', most: 200 },
  { figure: 'eventToAllMs', what: 'event.from of one change, at the last client, ms' },
  { figure: 'waitingCpu', what: 'CPU while all clients wait, share of one', most: 0.05 },
  { figure: 'callsPerSecond', what: 'small calls a second', least: 1000 },
  { figure: 'echoPerSecond', what: 'calls a second of a bare jayson server' },
  { figure: 'ratio', what: 'ratio of the two', least: 0.6 },
  { figure: 'writesPerSecond', what: 'durable writes a second' },
];

async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      vms: { type: 'string', default: '10000' },
      clients: { type: 'string', default: '200' },
      calls: { type: 'string', default: '2000' },
      rounds: { type: 'string', default: '5' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return 0;
  }
  const number = (name: keyof Sizes) => {
    const value = Number(values[name]);
    if (!Number.isSafeInteger(value) || value < 1)
      throw new Error(`--${name} is a whole number from 1 on, not '${values[name]}'`);
    return value;
  };
  const figures = await measure({
    vms: number('vms'),
    clients: number('clients'),
    calls: number('calls'),
    rounds: number('rounds'),
  });
  process.stdout.write(values.json ? `${JSON.stringify(figures)}\n` : report(figures));
  return goals.every((goal) => isMet(goal, figures)) ? 0 : 1;
}

interface Sizes {
  readonly vms: number;
  readonly clients: number;
  readonly calls: number;
  readonly rounds: number;
}

/** Ended by a signal, it gives up and removes what it made. */
async function measure(sizes: Sizes): Promise<Figures> {
  const directory = await mkdtemp(join(tmpdir(), 'xenferry-bench-'));
  const ending: (() => Promise<void>)[] = [];
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => reject(new Error(`ended by ${signal}`)));
  });
  try {
    return await Promise.race([measureIn(directory, ending, sizes), interrupted]);
  } finally {
    for (const end of ending.reverse()) await end();
    await rm(directory, { recursive: true, force: true });
  }
}

/** @param ending gets what is to be done at the end, last first */
async function measureIn(
  directory: string,
  ending: (() => Promise<void>)[],
  { vms, clients, calls, rounds }: Sizes,
): Promise<Figures> {
  await fill(join(directory, 'db'), vms);
  // The first start writes what a daemon keeps of each VM; the second one is like every other.
  await (await startDaemon(directory)).stop();
  const began = performance.now();
  const { url, pid, stop } = await startDaemon(directory);
  ending.push(stop);
  const startUpMs = performance.now() - began;
  const echo = await startEcho();
  ending.push(echo.stop);
  const daemon = openClient(`${url}/jsonrpc`);
  const yardstick = openClient(echo.url);
  ending.push(async () => {
    daemon.close();
    yardstick.close();
  });
  const password = (await readFile(join(directory, 'root-password'), 'utf8')).trim();
  const session = await daemon.call<string>('session.login_with_password', ['root', password, '1.0', 'bench']);
  return {
    vms,
    startUpMs,
    ...(await measureRecords(daemon, session)),
    eventFromMs: await measureEvent(url, daemon, session),
    ...(await measureWaiting({ url, pid, clients }, daemon, session)),
    ...(await measureCalls(daemon, yardstick, session, calls, rounds)),
  };
}

/** A database with so many halted VMs, each with an interface, as a daemon would have written it. */
async function fill(path: string, vms: number): Promise<void> {
  const store = openStore(path);
  const db: Database = await openDatabase(store, nullLog);
  const network = db.create('network', { name_label: 'bench', bridge: 'xapi0' });
  for (let i = 0; i < vms; i++) {
    const VM = db.create('VM', {
      name_label: `vm${i}`,
      memory_static_max: 2 ** 30,
      other_config: { 'simulator:seed': String(i) },
    });
    db.create('VIF', { VM, network, device: '0' });
  }
  await db.saved();
  await store.close();
}

async function measureRecords(
  daemon: Client,
  session: string,
): Promise<Pick<Figures, 'getAllRecordsMs' | 'getAllRecordsBytes'>> {
  const times: number[] = [];
  let bytes = 0;
  for (let i = 0; i < 3; i++) {
    const began = performance.now();
    bytes = await daemon.bytes('VM.get_all_records', [session]);
    times.push(performance.now() - began);
  }
  return { getAllRecordsMs: median(times), getAllRecordsBytes: bytes };
}

/** Time from the write's answer to the arrival of the event at a client that waits for everything. */
async function measureEvent(url: string, daemon: Client, session: string): Promise<number> {
  const listener = openClient(`${url}/jsonrpc`);
  try {
    const [vm = ''] = await daemon.call<string[]>('VM.get_by_name_label', [session, 'vm0']);
    let { token } = await listener.call<{ token: string }>('event.from', [session, ['pool'], '', 0]);
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      const event = listener.call<{ token: string }>('event.from', [session, ['*'], token, 30]);
      const began = performance.now();
      await daemon.call('VM.set_name_description', [session, vm, `changed ${i}`]);
      token = (await event).token;
      times.push(performance.now() - began);
    }
    return median(times);
  } finally {
    listener.close();
  }
}

interface Waiting {
  readonly url: string;
  readonly pid: number;
  readonly clients: number;
}

/**
 * Many clients that wait for everything: what that costs while nothing happens, and how soon all hear of one change.
 */
async function measureWaiting(
  { url, pid, clients }: Waiting,
  daemon: Client,
  session: string,
): Promise<Pick<Figures, 'eventToAllMs' | 'waitingCpu'>> {
  const waiting = Array.from({ length: clients }, () => openClient(`${url}/jsonrpc`));
  try {
    const [vm = ''] = await daemon.call<string[]>('VM.get_by_name_label', [session, 'vm0']);
    const { token } = await daemon.call<{ token: string }>('event.from', [session, ['pool'], '', 0]);
    const answers = waiting.map((client) => client.call('event.from', [session, ['*'], token, 60]));
    await delay(1000);
    const [cpuBefore, timeBefore] = [await cpuSeconds(pid), performance.now()];
    await delay(3000);
    const waitingCpu = ((await cpuSeconds(pid)) - cpuBefore) / ((performance.now() - timeBefore) / 1000);
    const began = performance.now();
    await Promise.all([...answers, daemon.call('VM.set_name_description', [session, vm, 'changed for all'])]);
    return { eventToAllMs: performance.now() - began, waitingCpu };
  } finally {
    for (const client of waiting) client.close();
  }
}

/** CPU time that a process has used, in seconds; Linux counts it in hundredths. */
async function cpuSeconds(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /s, '').split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measureCalls(
  daemon: Client,
  yardstick: Client,
  session: string,
  calls: number,
  rounds: number,
): Promise<Pick<Figures, 'callsPerSecond' | 'writesPerSecond' | 'echoPerSecond' | 'ratio'>> {
  const [vm = ''] = await daemon.call<string[]>('VM.get_by_name_label', [session, 'vm1']);
  const read = () => daemon.call('VM.get_name_label', [session, vm]);
  const echo = () => yardstick.call('echo', [session, vm]);
  let writes = 0;
  const write = () => daemon.call('VM.set_name_description', [session, vm, `write ${writes++}`]);
  // Both engines are warm before the clock runs.
  await rate(read, calls);
  await rate(echo, calls);
  const reads: number[] = [];
  const echoes: number[] = [];
  for (let round = 0; round < rounds; round++) {
    reads.push(await rate(read, calls));
    echoes.push(await rate(echo, calls));
  }
  return {
    callsPerSecond: median(reads),
    writesPerSecond: await rate(write, calls),
    echoPerSecond: median(echoes),
    ratio: median(reads.map((value, i) => value / (echoes[i] as number))),
  };
}

/** Calls a second, one after another. */
async function rate(call: () => Promise<unknown>, calls: number): Promise<number> {
  const began = performance.now();
  for (let i = 0; i < calls; i++) await call();
  return (calls / (performance.now() - began)) * 1000;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}

function isMet({ figure, most = Number.POSITIVE_INFINITY, least = 0 }: Goal, figures: Figures): boolean {
  return figures[figure] <= most && figures[figure] >= least;
}

function report(figures: Figures): string {
  const lines = goals.map((goal) => {
    const value = figures[goal.figure];
    const shown = value < 10 ? value.toFixed(2) : value.toFixed(0);
    const wanted = goal.most === undefined ? goal.least && `at least ${goal.least}` : `at most ${goal.most}`;
    const verdict = wanted ? `  ${wanted}: ${isMet(goal, figures) ? 'met' : 'NOT MET'}` : '';
    return `${goal.what.padEnd(50)}${shown.padStart(8)}${verdict}`;
  });
  const records = `${figures.vms} VMs, whose records are ${(figures.getAllRecordsBytes / 2 ** 20).toFixed(1)} MiB of JSON`;
  return `${[records, ...lines].join('\n')}\n`;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`bench:api: ${error instanceof Error ? error.message : error}\n`);
  process.exit(1);
}
