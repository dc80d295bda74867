/**
 * A soak: VMs cross back and forth between two hosts while rules break their migrations and the daemons are killed at random.
 * Says each minute how it goes, and at the end all in one JSON object and one line. The exit status is 0 only if no VM was lost, none
 * ran twice, no page is other than its guest wrote it, and nothing is left behind.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { XapiError } from '../../src/base/errors.js';
import { type Compressor, compressors } from '../faults/cases.js';
import { type Watch, watchDoubles } from '../faults/doubles.js';
import { idleOf, vmViolations } from '../faults/invariant.js';
import { type Ended, inWords, type Pair, type PairHost, type PairVm, startPair, vmBytes } from '../faults/pair.js';
import { addRule, clearRules } from '../faults/rules.js';
import { settled } from '../faults/sweep.js';
import { createDice, type Dice, pickRule } from './dice.js';

interface Settings {
  readonly minutes: number;
  readonly vms: number;
  readonly seed: number;
}

const help = `Usage: npm run soak -- --minutes M --vms N [--seed S]
  --minutes M  how long; 30
  --vms N      how many VMs cross between two hosts; 6
  --seed S     what decides the faults, a whole number; chosen and printed unless given
`;

/** What has happened so far. */
interface Tally {
  migrations: number;
  succeeded: number;
  /** Ended with an error, the VM as it should be. */
  failed: number;
  /** Ended before they began, as a daemon was away. */
  refused: number;
  readonly faults: Record<string, number>;
  daemonsKilled: number;
  lost: number;
  doubled: number;
  corrupt: number;
  /** What was amiss, in words; the first ones. */
  readonly amiss: string[];
}

interface Soak {
  readonly pair: Pair;
  readonly watch: Watch;
  readonly tally: Tally;
  readonly dice: Dice;
  readonly until: number;
  readonly interrupted: AbortSignal;
}

const endMs = 60_000;
const settleMs = 60_000;
/** A daemon is killed after a pause of between these, in milliseconds. */
const killPause = [4_000, 20_000] as const;

function goesOn({ until, interrupted }: Soak): boolean {
  return Date.now() < until && !interrupted.aborted;
}

/** One VM crosses for as long as the soak lasts; each time it is looked at before the next. */
async function cross(soak: Soak, vm: PairVm): Promise<void> {
  const { pair, tally, dice } = soak;
  while (goesOn(soak)) {
    const ended = await migrate(soak, vm).catch((error: unknown) => {
      if (!(error instanceof XapiError)) note(tally, `${vm.name}: ${inWords(error)}`);
      return undefined;
    });
    count(tally, vm, ended);
    await check(soak, vm);
    await delay(dice.between(0, 300));
    if ((await pair.call('VM.get_power_state', vm.ref)) === 'Halted') {
      await pair.call('VM.start', vm.ref, false, false).catch((error: unknown) => note(tally, inWords(error)));
    }
  }
}

async function migrate({ pair, tally, dice }: Soak, vm: PairVm): Promise<Ended> {
  const sides = await pair.sides(vm);
  const rule = dice.chance(0.5) ? pickRule(dice) : undefined;
  if (rule !== undefined) {
    await addRule(pair, sides[rule.place.side], rule.place, vm, rule.action);
    tally.faults[rule.name] = (tally.faults[rule.name] ?? 0) + 1;
  }
  const compressor: Compressor = dice.pick(compressors);
  // The configuration is the hosts', so another VM may get it as well: each migration has some compressor.
  if (compressor !== 'none' && sides.source.runs()) {
    await sides.source.configure({ 'migration-compressor': compressor }).catch(() => undefined);
  }
  const task = await pair.migrate(vm, sides.destination, compressor !== 'none');
  return pair.ended(task, endMs);
}

function count(tally: Tally, vm: PairVm, ended: Ended | undefined): void {
  if (ended === undefined) {
    tally.refused += 1;
    return;
  }
  tally.migrations += 1;
  if (ended.status === 'success') tally.succeeded += 1;
  else tally.failed += 1;
  if (ended.told.memory_intact !== 'false') return;
  tally.corrupt += 1;
  note(tally, `${vm.name}: what arrived is not what was sent`);
}

/** Wait until the VM is settled: one copy, running, where its record says, every page what its guest wrote. */
async function check({ pair, tally, watch }: Soak, vm: PairVm): Promise<void> {
  let found = await vmViolations(pair, vm);
  for (const limit = Date.now() + settleMs; found.length > 0 && Date.now() < limit; ) {
    await delay(100);
    found = await vmViolations(pair, vm);
  }
  if (found.length > 0) {
    if (found.some((what) => what.includes('is corrupt'))) tally.corrupt += 1;
    else tally.lost += 1;
    note(tally, `${vm.name}: ${found.join('; ')}`);
  }
  const twice = watch.take();
  tally.doubled += twice.length;
  for (const what of twice) note(tally, what);
}

/** Kill a daemon now and then. */
async function kill(soak: Soak): Promise<void> {
  const { pair, tally, dice } = soak;
  while (goesOn(soak)) {
    await delay(dice.between(...killPause), undefined, { signal: soak.interrupted }).catch(() => undefined);
    if (!goesOn(soak)) return;
    await dice.pick(pair.hosts).kill();
    tally.daemonsKilled += 1;
  }
}

/** A daemon that was killed, by us or by a rule, is started again after a while. */
async function keepRunning({ tally, dice }: Soak, host: PairHost, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    await delay(100);
    if (host.runs()) continue;
    await delay(dice.between(0, 2500));
    await host.restart().catch((error: unknown) => note(tally, inWords(error)));
  }
}

function note(tally: Tally, what: string): void {
  if (tally.amiss.length < 100) tally.amiss.push(`${new Date().toISOString()} ${what}`);
  process.stderr.write(`${what}\n`);
}

function summary(tally: Tally): string {
  const { migrations, succeeded, failed, refused, faults, daemonsKilled, lost, doubled, corrupt } = tally;
  const put = Object.values(faults).reduce((sum, each) => sum + each, 0);
  return (
    `${migrations} migrations: ${succeeded} succeeded, ${failed} failed as they should, ${refused} refused; ` +
    `${put} faults by rules, ${daemonsKilled} daemons killed; ${lost} lost, ${doubled} doubled, ${corrupt} corrupt`
  );
}

async function tellEachMinute(soak: Soak): Promise<void> {
  for (let minute = 1; goesOn(soak); minute += 1) {
    const pause = Math.min(60_000, Math.max(0, soak.until - Date.now()));
    await delay(pause, undefined, { signal: soak.interrupted }).catch(() => undefined);
    process.stdout.write(`minute ${minute}: ${summary(soak.tally)}\n`);
  }
}

async function run({ minutes, vms, seed }: Settings, interrupted: AbortSignal): Promise<number> {
  process.stdout.write(`Starting two hosts and ${vms} VMs; seed ${seed}\n`);
  const gpus = Array.from({ length: vms }, (_, index) => (index % 3 === 2 ? ['0'] : []));
  const memory = `${((vms + 2) * vmBytes) >> 20}MiB`;
  const config = { 'simulator-memory': memory, loglevel: 'info' };
  const pair = await startPair({ vms: gpus, dirtyRate: 1000, disks: false, config });
  const watch = watchDoubles(pair);
  try {
    const tally: Tally = {
      ...{ migrations: 0, succeeded: 0, failed: 0, refused: 0, faults: {}, daemonsKilled: 0 },
      ...{ lost: 0, doubled: 0, corrupt: 0, amiss: [] },
    };
    const idle = [idleOf(pair.hosts[0]), idleOf(pair.hosts[1])] as const;
    const soak = { pair, watch, tally, dice: createDice(seed), until: Date.now() + minutes * 60_000, interrupted };
    const over = new AbortController();
    const keeping = Promise.all(pair.hosts.map((host) => keepRunning(soak, host, over.signal)));
    await Promise.all([...pair.vms.map((vm) => cross(soak, vm)), kill(soak), tellEachMinute(soak)]);
    over.abort();
    await keeping;
    for (const host of pair.hosts) await clearRules(pair, host);
    const left = await settled(pair, { idle, powerLost: false }, settleMs);
    process.stdout.write(`${JSON.stringify({ seed, minutes, vms, ...tally, left })}\n`);
    process.stdout.write(`${summary(tally)}${left.length > 0 ? `; left behind: ${left.join('; ')}` : ''}\n`);
    return tally.lost + tally.doubled + tally.corrupt + left.length === 0 ? 0 : 1;
  } finally {
    await watch.close();
    await pair.stop();
  }
}

function settingsOf(args: readonly string[]): Settings | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '30' },
      vms: { type: 'string', default: '6' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  if (!(Number(values.minutes) > 0)) throw new Error(`--minutes is a number above 0, not '${values.minutes}'`);
  if (!/^[1-9]\d?$/.test(values.vms)) throw new Error(`--vms is a number from 1 to 99, not '${values.vms}'`);
  if (!/^\d{1,10}$/.test(values.seed)) throw new Error(`--seed is a whole number, not '${values.seed}'`);
  return { minutes: Number(values.minutes), vms: Number(values.vms), seed: Number(values.seed) };
}

try {
  const settings = settingsOf(process.argv.slice(2));
  if (settings === undefined) process.stdout.write(help);
  else {
    const interrupted = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
    process.exitCode = await run(settings, interrupted.signal);
  }
} catch (error) {
  process.stderr.write(`soak: ${inWords(error)}\n`);
  process.exitCode = 1;
}
