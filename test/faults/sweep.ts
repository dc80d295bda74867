/** One case: break a migration, let it settle by itself, look at everything, and migrate the same VM again. */
import { setTimeout as delay } from 'node:timers/promises';
import type { BackendName, Case, Compressor } from './cases.js';
import { type Watch, watchDoubles } from './doubles.js';
import type { FaultHost } from './host.js';
import { type Expected, idleOf, violations } from './invariant.js';
import { type Ended, inWords, type Pair, type PairVm, startPair, vmBytes } from './pair.js';
import { addRule, clearRules, fired } from './rules.js';
import { compressorKeys, holds, losesPower, type Mend, ruleOf, strike, type Target } from './strike.js';

export interface Result {
  readonly id: string;
  /** Empty where all is as it should be. */
  readonly problems: readonly string[];
  /** How the broken migration ended, in one line. */
  readonly ended: string;
  readonly seconds: number;
  /** Of a failure: the last lines of each host's log. */
  readonly logs: readonly string[];
}

/** A pair for many cases, one after the other. */
export interface Bench {
  run(one: Case): Promise<Result>;
  stop(): Promise<void>;
}

/** How long a migration may take to end whatever was broken, and all the rest to settle. */
const endMs = 30_000;
const settleMs = 30_000;
/** How many lines of each log are shown of a failure. */
const logLines = 30;
const lineLength = 240;

/** Errors that tell a client what to think of a migration that was broken. */
const sensible = new Set([
  'VM_MIGRATE_FAILED',
  'HOST_NOT_ENOUGH_FREE_MEMORY',
  'HOST_OFFLINE',
  'CANNOT_CONTACT_HOST',
  'VM_BAD_POWER_STATE',
  'OPERATION_NOT_ALLOWED',
  'OTHER_OPERATION_IN_PROGRESS',
]);

/** Start a pair with a plain VM and one with a virtual GPU, and note what it is like when nothing goes on. */
export async function startBench(disks: boolean, backend: BackendName = 'simulator'): Promise<Bench> {
  const pair = await startPair({
    ...{ backend, dirtyRate: 300, disks },
    vms: backend === 'qemu' ? [[]] : [[], ['0']],
    config: backend === 'qemu' ? {} : { 'simulator-memory': `${(vmBytes * 4) >> 20}MiB` },
  });
  try {
    let compressor = await choose(pair, undefined, 'stream');
    // What stays open after a first migration there and back is what a pair has when idle.
    for (const vm of pair.vms) for (let i = 0; i < 2; i += 1) await migrateWell(pair, vm, compressor);
    const idle = pair.hosts.map(idleOf) as unknown as Expected['idle'];
    const watch = watchDoubles(pair);
    return {
      async run(one) {
        compressor = await choose(pair, compressor, one.compressor);
        return runCase(pair, watch, idle, one);
      },
      async stop() {
        await watch.close();
        await pair.stop();
      },
    };
  } catch (error) {
    await pair.stop();
    throw error;
  }
}

async function choose(pair: Pair, current: Compressor | undefined, wanted: Compressor): Promise<Compressor> {
  if (current !== wanted) for (const host of pair.hosts) await host.configure(compressorKeys(wanted));
  return wanted;
}

async function runCase(pair: Pair, watch: Watch, idle: Expected['idle'], one: Case): Promise<Result> {
  const started = performance.now();
  const from = pair.hosts.map((host) => host.logged());
  const problems: string[] = [];
  const ended = await breakAndSettle(pair, idle, one, problems).catch((error: unknown) => {
    problems.push(inWords(error));
    return 'unknown';
  });
  problems.push(...watch.take());
  return {
    id: one.id,
    problems,
    ended,
    seconds: (performance.now() - started) / 1000,
    logs: problems.length === 0 ? [] : pair.hosts.map((host, index) => lastLines(host, from[index] as number)),
  };
}

async function breakAndSettle(pair: Pair, idle: Expected['idle'], one: Case, problems: string[]): Promise<string> {
  const vm = pair.vms[one.vgpu ? 1 : 0] as PairVm;
  const target: Target = { pair, vm, ...(await pair.sides(vm)), compressor: one.compressor };
  const expected: Expected = { idle, powerLost: losesPower(one) };
  if (one.fault.act.kind === 'disk') {
    const full = target[one.fault.act.of];
    // The start gives back what the database was promised and did not need, which would outlast the disk.
    await full.kill();
    await full.restart();
    problems.push(...(await settled(pair, { idle, powerLost: false }, settleMs)));
    full.pinDatabase();
  }
  const ended = await breakOnce(target, one);
  problems.push(...judge(ended));
  problems.push(...(await settled(pair, expected, settleMs)));
  if (problems.length > 0) return inLine(target, ended);
  if (expected.powerLost) await startHalted(pair);
  await migrateWell(pair, vm, one.compressor);
  problems.push(
    ...(await settled(pair, { idle, powerLost: false }, settleMs)).map((what) => `after the next: ${what}`),
  );
  return inLine(target, ended);
}

/** Migrate, break it at the step, put back what was broken, and wait for the end. */
async function breakOnce(target: Target, one: Case): Promise<Ended> {
  const { pair, vm, destination } = target;
  const host = target[one.side];
  const rule = await addRule(pair, host, one, vm, ruleOf(one));
  let mend: Mend = async () => undefined;
  try {
    const task = await pair.migrate(vm, destination, one.compressor !== 'none');
    if (!(await fired(pair, host, rule, task)))
      throw new Error(`the migration did not come to ${one.side} ${one.step}`);
    if (holds(one)) mend = await strike(target, one.fault.act);
    await clearHeld(target, one);
    const waitMs = outlasts(one);
    const early = waitMs === 0 ? undefined : await pair.ended(task, waitMs).catch(() => undefined);
    if (early !== undefined) return early;
    await mend();
    return await pair.ended(task, endMs);
  } finally {
    await mend();
    for (const each of pair.hosts) await clearRules(pair, each);
  }
}

/** The step goes on where its daemon still can. A rule of a member whose coordinator was killed goes on when that is back. */
async function clearHeld(target: Target, one: Case): Promise<void> {
  if (!holds(one)) return;
  const { pair } = target;
  const host = target[one.side];
  if (!pair.hosts[0].runs()) await pair.hosts[0].restart();
  if (host.runs()) await clearRules(pair, host);
}

/**
 * For how long after the fault the end is waited for before what is broken is put back, in milliseconds. A daemon is started again
 * at once; a disk stays full for a while; what is stopped or missing stays so until the migration has ended.
 */
function outlasts({ fault: { act } }: Case): number {
  if (act.kind === 'signal' && act.process === 'daemon') return 0;
  return act.kind === 'disk' ? 3_000 : endMs;
}

function judge({ status, error, told }: Ended): string[] {
  const [code = ''] = error;
  return [
    ...(status === 'failure' && !sensible.has(code) && !namesFullDisk(error)
      ? [`the task's error says little: ${error.join(' ')}`]
      : []),
    ...(status === 'cancelled' ? ['the task was cancelled by nobody'] : []),
    ...(told.memory_intact === 'false' ? ['what arrived is not what was sent'] : []),
  ];
}

/** A coordinator that cannot write what it changed does not answer as if it had. */
function namesFullDisk(error: readonly string[]): boolean {
  return error.includes('OUT_OF_SPACE');
}

function inLine({ source, destination }: Target, { status, error }: Ended): string {
  return `${source.name} to ${destination.name}: ${[status, ...error].join(' ')}`;
}

/** Ask until the invariant holds. @returns what is still amiss when the time is over */
export async function settled(pair: Pair, expected: Expected, timeoutMs: number): Promise<string[]> {
  for (const limit = Date.now() + timeoutMs; ; ) {
    const found = await violations(pair, expected);
    if (found.length === 0 || Date.now() > limit) return found;
    await delay(50);
  }
}

/** VMs that a loss of power has halted are started where there is room. */
async function startHalted(pair: Pair): Promise<void> {
  for (const vm of pair.vms) {
    if ((await pair.call('VM.get_power_state', vm.ref)) === 'Halted') await pair.call('VM.start', vm.ref, false, false);
  }
}

/** Migrate to the other host; nothing is broken. @throws where it does not succeed, or what arrives is not what was sent */
async function migrateWell(pair: Pair, vm: PairVm, compressor: Compressor): Promise<void> {
  const { destination } = await pair.sides(vm);
  const task = await pair.migrate(vm, destination, compressor !== 'none');
  const { status, error, told } = await pair.ended(task, endMs);
  if (status !== 'success') throw new Error(`the next migration: ${[status, ...error].join(' ')}`);
  if (told.memory_intact !== 'true') throw new Error(`the next migration: memory_intact is ${told.memory_intact}`);
}

function lastLines(host: FaultHost, from: number): string {
  const lines = host.logSince(from).trimEnd().split('\n');
  return `${host.name}:\n${lines
    .slice(-logLines)
    .map((line) => line.slice(0, lineLength))
    .join('\n')}`;
}
