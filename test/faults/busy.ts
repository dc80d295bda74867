/**
 * A pool of two real hosts, of which one is busy with a VM when daemons are killed; and what must hold meanwhile and afterwards: the VM
 * is held until its host says what became of it, then its record is what is there, and it is free. At no time two copies of it run.
 */
import type { HypervisorOp } from '../../src/base/protocol/hypervisor-protocol.js';
import { type Watch, watchDoubles } from './doubles.js';
import { type Gate, placeGate } from './gate.js';
import { type Ended, inWords, type Pair, type PairHost, startPair } from './pair.js';
import { until } from './processes.js';
import type { Result } from './sweep.js';

const endMs = 30_000;

type State = 'Halted' | 'Paused' | 'Running' | 'Suspended';

/** What makes, changes or ends a domain: what the VM is before and after it, and the requests at which its hypervisor stands still. */
const operations = [
  { operation: 'start_on', before: 'Halted', after: 'Running', requests: ['create', 'build', 'unpause'] },
  { operation: 'pause', before: 'Running', after: 'Paused', requests: ['pause'] },
  { operation: 'unpause', before: 'Paused', after: 'Running', requests: ['unpause'] },
  { operation: 'suspend', before: 'Running', after: 'Suspended', requests: ['pause', 'destroy'] },
  { operation: 'resume_on', before: 'Suspended', after: 'Running', requests: ['create', 'unpause'] },
  {
    operation: 'clean_reboot',
    before: 'Running',
    after: 'Running',
    requests: ['pause', 'destroy', 'create', 'build', 'unpause'],
  },
  {
    operation: 'hard_reboot',
    before: 'Running',
    after: 'Running',
    requests: ['destroy', 'create', 'build', 'unpause'],
  },
  { operation: 'clean_shutdown', before: 'Running', after: 'Halted', requests: ['pause', 'destroy'] },
  { operation: 'hard_shutdown', before: 'Running', after: 'Halted', requests: ['destroy'] },
] as const satisfies readonly Operation[];

interface Operation {
  readonly operation: string;
  readonly before: State;
  readonly after: State;
  readonly requests: readonly HypervisorOp[];
}

/** Whose daemon is killed while a host is busy: the busy host is the member, but for the last. */
const blows = ['kill coordinator', 'kill member', 'kill both', 'kill coordinator, which is busy itself'] as const;
type Blow = (typeof blows)[number];

export interface BusyCase extends Omit<Operation, 'requests'> {
  readonly id: string;
  readonly request: HypervisorOp;
  readonly blow: Blow;
}

/** The whole matrix. */
export function busyCases(): BusyCase[] {
  return operations.flatMap(({ requests, ...operation }) =>
    requests.flatMap((request) =>
      blows.map((blow) => ({ ...operation, request, blow, id: `${operation.operation}, busy at ${request}: ${blow}` })),
    ),
  );
}

/** Each operation once, with one request and blow after the other; and all that makes a domain with the coordinator killed. */
export function quickBusy(): BusyCase[] {
  const all = busyCases();
  return operations.flatMap(({ operation }, index) => {
    const own = all.filter((one) => one.operation === operation);
    const first = own.filter(({ blow }) => blow === blows[0]);
    const other = own.filter(({ blow }) => blow === blows[1 + (index % 3)]);
    return [first, other].map((some) => some[index % some.length] as BusyCase);
  });
}

export interface BusyHosts {
  run(one: BusyCase): Promise<Result>;
  stop(): Promise<void>;
}

interface Bench {
  readonly pair: Pair;
  readonly watch: Watch;
  readonly gates: readonly [Gate, Gate];
}

/** Start both hosts, with a VM. */
export async function startBusyHosts(): Promise<BusyHosts> {
  // What stands at a gate is not given up.
  const config = { 'backend-timeout': '120s' };
  const pair = await startPair({ vms: [[]], dirtyRate: 50, disks: false, config });
  const gates: Gate[] = [];
  try {
    for (const host of pair.hosts) {
      await host.kill();
      gates.push(await placeGate(host.directory));
      await host.restart();
    }
  } catch (error) {
    for (const gate of gates) await gate.remove();
    await pair.stop();
    throw error;
  }
  const bench: Bench = { pair, watch: watchDoubles(pair), gates: gates as [Gate, Gate] };
  return {
    run: (one) => timed(bench, one),
    async stop() {
      await bench.watch.close();
      for (const gate of gates) await gate.remove();
      await pair.stop();
    },
  };
}

async function timed(bench: Bench, one: BusyCase): Promise<Result> {
  const begun = performance.now();
  const from = bench.pair.hosts.map((host) => host.logged());
  const problems = await run(bench, one).catch((error: unknown) => [inWords(error)]);
  problems.push(...bench.watch.take());
  const seconds = (performance.now() - begun) / 1000;
  const logs = bench.pair.hosts.map((host, index) => `${host.name}:\n${host.logSince(from[index] as number)}`);
  return { id: one.id, problems, ended: '', seconds, logs: problems.length === 0 ? [] : logs };
}

/** @returns what is amiss; empty where all holds */
async function run({ pair, gates }: Bench, one: BusyCase): Promise<string[]> {
  const { blow, request, operation } = one;
  const [coordinator, member] = pair.hosts;
  const isMembers = blow !== 'kill coordinator, which is busy itself';
  const [host, gate] = isMembers ? [member, gates[1]] : [coordinator, gates[0]];
  const other = isMembers ? coordinator : member;
  const killed = blow === 'kill both' ? pair.hosts : [blow === 'kill member' ? member : coordinator];
  await allLive(pair);
  await bringTo(pair, one.before, host);
  const { ref } = pair.vms[0] as Pair['vms'][number];
  gate.close(request);
  const problems: string[] = [];
  try {
    const where = operation.endsWith('_on') ? [host.ref, false, false] : [];
    const task = await pair.call<string>(`Async.VM.${operation}`, ref, ...where);
    await until(`${host.name} is asked to ${request}`, endMs, () => gate.waiting() > 0 || undefined);
    for (const each of killed) await each.kill();
    // What a killed daemon has asked for does not come any more.
    if (killed.includes(host)) gate.open();
    if (killed.includes(coordinator)) await coordinator.restart();
    if (host === member) problems.push(...(await heldFor(pair, one, other)));
    await member.restart();
    gate.open();
    await allLive(pair);
    problems.push(...(await settled(pair)));
    const record = await vmRecord(pair);
    if (killed.includes(host)) return problems;
    const ended = await pair.ended(task, endMs);
    if (record.power_state !== one.after) problems.push(`it is ${record.power_state}, not ${one.after}`);
    if (ended.status !== 'success') problems.push(`its task: ${inLine(ended)}`);
    return problems;
  } finally {
    gate.open();
    for (const each of pair.hosts) await each.restart();
  }
}

function inLine({ status, error }: Ended): string {
  return [status, ...error].join(' ');
}

interface VmRecord {
  readonly power_state: State;
  readonly domid: string;
  readonly resident_on: string;
  readonly scheduled_to_be_resident_on: string;
  readonly current_operations: Readonly<Record<string, string>>;
}

function vmRecord({ call, vms }: Pair): Promise<VmRecord> {
  return call<VmRecord>('VM.get_record', vms[0]?.ref);
}

function allLive({ call }: Pair): Promise<true> {
  return until('both hosts are live', endMs, async () => {
    const metrics = await call<Record<string, { live: boolean }>>('host_metrics.get_all_records');
    return Object.values(metrics).every(({ live }) => live) || undefined;
  });
}

async function bringTo(pair: Pair, state: State, host: PairHost): Promise<void> {
  const { ref } = pair.vms[0] as Pair['vms'][number];
  if ((await vmRecord(pair)).power_state !== 'Halted') await pair.call('VM.hard_shutdown', ref);
  if (state === 'Halted') return;
  await pair.call('VM.start_on', ref, host.ref, state === 'Paused', false);
  if (state === 'Suspended') await pair.call('VM.suspend', ref);
}

/** While the host is busy, or away, nobody else may have the VM. */
async function heldFor(pair: Pair, { operation, before }: BusyCase, other: PairHost): Promise<string[]> {
  const problems: string[] = [];
  for (let look = 1; look <= 3; look += 1) {
    const { current_operations } = await vmRecord(pair);
    const held = Object.values(current_operations);
    if (held.join() !== operation) problems.push(`look ${look}: it is held for '${held.join()}'`);
    const refused = await pair.call('VM.start_on', pair.vms[0]?.ref, other.ref, false, false).then(
      () => 'nothing',
      ({ code }: { readonly code: string }) => code,
    );
    const expected = before === 'Halted' ? 'OTHER_OPERATION_IN_PROGRESS' : 'VM_BAD_POWER_STATE';
    if (refused !== expected) problems.push(`look ${look}: VM.start_on is refused with ${refused}`);
  }
  return problems;
}

/** Asked again until it holds. */
async function settled(pair: Pair): Promise<string[]> {
  for (const limit = Date.now() + endMs; ; ) {
    const problems = await amiss(pair);
    if (problems.length === 0 || Date.now() > limit) return problems;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function amiss(pair: Pair): Promise<string[]> {
  const record = await vmRecord(pair);
  const { uuid } = pair.vms[0] as Pair['vms'][number];
  const looks = await Promise.all(
    pair.hosts.map(async (host) => {
      const { result } = await host.ask((client) => client.call('list', {}));
      return result.filter((domain) => domain.uuid === uuid).map((domain) => ({ host, domain }));
    }),
  );
  const copies = looks.flat();
  const images = pair.hosts.flatMap((host) => host.files().filter((file) => /^suspend\/.*\.memory$/.test(file)));
  const [copy] = copies;
  const isUp = record.power_state === 'Running' || record.power_state === 'Paused';
  const state = { running: 'Running', paused: 'Paused' }[copy?.domain.state as string];
  return [
    ...Object.values(record.current_operations).map((operation) => `${operation} holds it`),
    ...(record.scheduled_to_be_resident_on === 'OpaqueRef:NULL' ? [] : ['it is scheduled to be on a host']),
    ...(copies.length === Number(isUp) ? [] : [`it is ${record.power_state}, and has ${copies.length} domains`]),
    ...(images.length === Number(record.power_state === 'Suspended')
      ? []
      : [`it is ${record.power_state}, and has ${images.length} images`]),
    ...(copy === undefined || record.power_state === state ? [] : [`it is ${record.power_state}, not ${state}`]),
    ...(copy === undefined || copy.host.ref === record.resident_on ? [] : ['it is on another host']),
    ...(copy === undefined || String(copy.domain.handle.domid) === String(record.domid)
      ? []
      : ['its domid is another']),
  ];
}
