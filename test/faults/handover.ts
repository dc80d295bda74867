/**
 * Two pools of one real host each, between which a VM that does not run is handed over and daemons are killed; and what must hold
 * after it: one pool has the VM, whole and free, the other has nothing of it.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { vmRecord } from '../../src/cli/client/vm-record.js';
import { type Rest, rests } from '../../src/migrate/metadata.js';
import { type Side, type Step, steps } from '../../src/migrate/protocol.js';
import { type FaultHost, startFaultHost } from './host.js';
import { createClient, type Ended, freePorts, inWords, taskEnd } from './pair.js';
import { until } from './processes.js';
import type { Result } from './sweep.js';

const mebibyte = 2 ** 20;
const reachMs = 15_000;
const endMs = 20_000;

/** What befalls a handover at a step. */
const blows = ['failure', 'kill source', 'kill destination', 'kill both'] as const;
type Blow = (typeof blows)[number];

export interface HandoverCase {
  readonly id: string;
  readonly rest: Rest;
  readonly side: Side;
  readonly step: Step;
  readonly blow: Blow;
}

/** The steps that only a VM with a domain comes to, or with an image, or with a virtual GPU. */
const ofDomains: readonly Step[] = ['suspend', 'last round', '1-vgpu ACK', '1-vgpu'];
const ofImages: readonly Step[] = ['1-mem ACK', '1-mem'];

function comesTo(rest: Rest, side: Side, step: Step): boolean {
  if (ofDomains.includes(step)) return false;
  return rest === 'suspended' || !(ofImages.includes(step) || (side === 'destination' && step === 'copy'));
}

/** The whole matrix. */
export function handoverCases(): HandoverCase[] {
  return rests.flatMap((rest) =>
    (['source', 'destination'] as const).flatMap((side) =>
      steps[side]
        .filter((step) => comesTo(rest, side, step))
        .flatMap((step) => blows.map((blow) => ({ id: `${rest}, ${side} ${step}: ${blow}`, rest, side, step, blow }))),
    ),
  );
}

/** Each step once, with one kind of VM and one blow after the other. */
export function quickHandovers(): HandoverCase[] {
  const byStep = new Map<string, HandoverCase[]>();
  for (const one of handoverCases()) {
    const step = `${one.side} ${one.step}`;
    byStep.set(step, [...(byStep.get(step) ?? []), one]);
  }
  // Five has no divisor in common with the four blows, or the eight of both kinds.
  return [...byStep.values()].map((cases, index) => cases[(5 * index) % cases.length] as HandoverCase);
}

interface Pool {
  readonly host: FaultHost;
  readonly ref: string;
  call<T = unknown>(method: string, ...params: unknown[]): Promise<T>;
  close(): Promise<void>;
}

interface VmRecord {
  readonly power_state: string;
  readonly name_description: string;
  readonly current_operations: Readonly<Record<string, string>>;
  readonly other_config: Readonly<Record<string, string>>;
  readonly VIFs: readonly string[];
}

export interface Handovers {
  run(one: HandoverCase): Promise<Result>;
  stop(): Promise<void>;
}

/** Start both pools, with a VM in the first. */
export async function startHandovers(): Promise<Handovers> {
  const parent = fs.mkdtempSync(path.join(tmpdir(), 'xf-handover-'));
  const pools: Pool[] = [];
  const stop = async (): Promise<void> => {
    for (const pool of pools) {
      await pool.close();
      await pool.host.stop();
    }
    fs.rmSync(parent, { recursive: true, force: true });
  };
  try {
    const ports = await freePorts();
    for (const [index, port] of ports.entries()) pools.push(await startPool(parent, `pool${index + 1}`, port));
    const [first, second] = pools as [Pool, Pool];
    const memory = { name: 'vm', description: 'as it was', memory: 4 * mebibyte };
    const vm = await first.call<string>('VM.create', vmRecord({ ...memory, otherConfig: { mine: 'kept' } }));
    await first.call('VIF.create', {
      ...{ device: '0', network: await networkOf(first), VM: vm, MAC: '', MTU: 1500 },
      ...{ other_config: {}, qos_algorithm_type: '', qos_algorithm_params: {} },
    });
    return { run: (one) => timed(first, second, one), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startPool(parent: string, name: string, port: number): Promise<Pool> {
  const secretFile = path.join(parent, `${name}-secret`);
  fs.writeFileSync(secretFile, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
  const host = await startFaultHost({ name, parent, port, secretFile, disk: false });
  const password = fs.readFileSync(path.join(host.directory, 'root-password'), 'utf8').trim();
  const client = createClient(host.url, password);
  const [ref] = await client.call<string[]>('host.get_all');
  return { host, ref: ref as string, call: client.call, close: client.close };
}

async function networkOf(pool: Pool): Promise<string> {
  return (await pool.call<string[]>('network.get_all'))[0] as string;
}

const found = (pool: Pool) => pool.call<string[]>('VM.get_by_name_label', 'vm');

async function timed(first: Pool, second: Pool, one: HandoverCase): Promise<Result> {
  const begun = performance.now();
  const problems = await run(first, second, one);
  return { id: one.id, problems, ended: '', seconds: (performance.now() - begun) / 1000, logs: [] };
}

/** @returns what is amiss afterwards; empty where all holds */
async function run(first: Pool, second: Pool, one: HandoverCase): Promise<string[]> {
  try {
    const vm = (await found(first))[0];
    const [source, destination] = vm === undefined ? [second, first] : [first, second];
    const ref = (vm ?? (await found(source))[0]) as string;
    await bringTo(source, ref, one.rest);
    const ended = await strike(source, destination, ref, one);
    const problems = await settled(source, destination, one.rest, ended);
    if (problems.length > 0) return problems.map((what) => `${what} (${inLine(ended)})`);
    return await again(source, destination, one.rest);
  } catch (error) {
    return [inWords(error)];
  }
}

function inLine({ status, error }: Ended): string {
  return [status, ...error].join(' ');
}

async function bringTo(pool: Pool, vm: string, rest: Rest): Promise<void> {
  const state = await pool.call('VM.get_power_state', vm);
  if (rest === 'halted') {
    if (state !== 'Halted') await pool.call('VM.hard_shutdown', vm);
    return;
  }
  if (state === 'Suspended') return;
  if (state === 'Halted') await pool.call('VM.start', vm, false, false);
  await pool.call('VM.suspend', vm);
}

async function send(source: Pool, destination: Pool, vm: string): Promise<string> {
  const network = await networkOf(destination);
  const dest = await destination.call('host.migrate_receive', destination.ref, network, {});
  const vifs = Object.fromEntries((await source.call<string[]>('VM.get_VIFs', vm)).map((vif) => [vif, network]));
  return source.call('Async.VM.migrate_send', vm, dest, true, {}, vifs, {});
}

async function strike(source: Pool, destination: Pool, vm: string, { side, step, blow }: HandoverCase): Promise<Ended> {
  const at = side === 'source' ? source : destination;
  const plugin = (fn: string, args: Record<string, string>) =>
    at.call<string>('host.call_plugin', at.ref, 'fault', fn, args);
  const how = blow === 'failure' ? { action: 'fail', message: 'broken on purpose' } : { action: 'stall' };
  await plugin('add', { side, step, ...how });
  try {
    const task = await send(source, destination, vm);
    await until(`${side} ${step}`, reachMs, async () => {
      const rules = JSON.parse(await plugin('list', {})) as { fired: number }[];
      return rules[0]?.fired === 1 || undefined;
    });
    if (blow !== 'failure') {
      const killed = [
        ...(blow === 'kill destination' ? [] : [source]),
        ...(blow === 'kill source' ? [] : [destination]),
      ];
      await Promise.all(killed.map(({ host }) => host.kill()));
      await Promise.all(killed.map(({ host }) => host.restart()));
    }
    await plugin('clear', {});
    return await taskEnd(source.call, task, endMs);
  } finally {
    for (const { host } of [source, destination]) await host.restart();
    await plugin('clear', {});
  }
}

/** Asked again until it holds. */
async function settled(source: Pool, destination: Pool, rest: Rest, ended: Ended): Promise<string[]> {
  for (const limit = Date.now() + endMs; ; ) {
    const problems = await amiss(source, destination, rest, ended);
    if (problems.length === 0 || Date.now() > limit) return problems;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function amiss(source: Pool, destination: Pool, rest: Rest, { status, error }: Ended): Promise<string[]> {
  const [here, there] = await Promise.all([found(source), found(destination)]);
  if (here.length + there.length !== 1) return [`${here.length} records at the source, ${there.length} there`];
  const pool = here.length === 1 ? source : destination;
  const record = await pool.call<VmRecord>('VM.get_record', here[0] ?? there[0]);
  const images = [source, destination].map(({ host }) => host.files().filter((file) => /^suspend\//.test(file)));
  const expectedImages = [source, destination].map((each) => (each === pool && rest === 'suspended' ? 1 : 0));
  const domains = await Promise.all(
    [source, destination].map(({ host }) => host.ask(async (client) => (await client.call('list', {})).result)),
  );
  const state = rest === 'halted' ? 'Halted' : 'Suspended';
  return [
    ...(record.power_state === state ? [] : [`it is ${record.power_state}`]),
    ...Object.values(record.current_operations).map((operation) => `${operation} holds it`),
    ...Object.keys(record.other_config).filter((key) => /^xenferry:/.test(key)),
    ...(record.name_description === 'as it was' && record.other_config.mine === 'kept'
      ? []
      : ['its record has changed']),
    ...(record.VIFs.length === 1 ? [] : [`it has ${record.VIFs.length} interfaces`]),
    ...images.flatMap((files, index) =>
      files.length === expectedImages[index] ? [] : [`${index === 0 ? 'source' : 'destination'}: images ${files}`],
    ),
    ...(domains.flat().length === 0 ? [] : ['there are domains']),
    ...((status === 'success') === (pool === destination) ||
    status === 'forgotten' ||
    / is in doubt, /.test(error.join(' '))
      ? []
      : [`the task says ${status}, and it is at the ${pool === source ? 'source' : 'destination'}`]),
  ];
}

/** From where it is, it goes to the other pool, and what it had in memory is whole. */
async function again(source: Pool, destination: Pool, rest: Rest): Promise<string[]> {
  const here = (await found(source))[0];
  const [from, to] = here === undefined ? [destination, source] : [source, destination];
  const vm = (here ?? (await found(from))[0]) as string;
  const ended = await taskEnd(from.call, await send(from, to, vm), endMs);
  if (ended.status !== 'success') return [`the next: ${inLine(ended)}`];
  const problems = (await settled(from, to, rest, ended)).map((what) => `after the next: ${what}`);
  if (problems.length > 0 || rest === 'halted') return problems;
  const [ref] = await found(to);
  await to.call('VM.resume', ref, false, false);
  const bad = await to.host.ask(async (client) => {
    const [domain] = (await client.call('list', {})).result;
    if (domain === undefined) return -1;
    return (await client.call('verify', { handle: domain.handle })).result.badPages;
  });
  return bad === 0 ? [] : [`${bad} pages are not what they were`];
}
