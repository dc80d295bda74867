/**
 * The invariant of the migration protocol, looked for in the real system: back ends, records, processes, sockets, files.
 * After a fault at most one copy of a VM runs, and once all is settled one does, where its record says; nothing temporary is
 * left: no uuid, process, socket, reservation, task or file.
 */
import type { SimulatedDomain } from '../../src/base/protocol/hypervisor-protocol.js';
import type { FaultHost } from './host.js';
import { inWords, type Pair, type PairHost, type PairVm } from './pair.js';
import { lives, processesOf, socketsOf, zombiesOf } from './processes.js';

/** What a host has when nothing goes on. */
export interface Idle {
  readonly tcp: number;
  readonly unix: number;
  readonly files: readonly string[];
}

export interface Expected {
  /** What each host has when nothing goes on, in the order of the pair's. */
  readonly idle: readonly [Idle, Idle];
  /** A hypervisor was lost, its VMs with it: they may be halted in their records. */
  readonly powerLost: boolean;
}

/** Connections of calls between hosts outlive the call by some seconds; this many are none the worse. */
const keptConnections = 8;

/** What a host has now. */
export function idleOf(host: FaultHost): Idle {
  return { ...socketsOf(host.daemon()), files: filesOf(host) };
}

interface Look {
  readonly host: PairHost;
  readonly domains: readonly SimulatedDomain[];
  readonly reserved: number;
  readonly used: number;
}

interface VmRecord {
  readonly power_state: string;
  readonly resident_on: string;
  readonly domid: number | string;
  readonly current_operations: Readonly<Record<string, string>>;
  readonly other_config: Readonly<Record<string, string>>;
}

/**
 * Everything in which the pair is not as the invariant says; empty where it holds. What is still being settled counts as
 * well, so ask again for as long as the settling may take.
 */
export async function violations(pair: Pair, expected: Expected): Promise<string[]> {
  try {
    const looks = await Promise.all(pair.hosts.map(look));
    const found = [...looks.flatMap((each) => ofBackend(each, pair)), ...(await ofRecords(pair))];
    for (const vm of pair.vms) found.push(...(await ofVm(pair, vm, looks, expected.powerLost)));
    // What costs most is looked at last: all processes and sockets of the machine, and then all pages.
    if (found.length === 0)
      found.push(...pair.hosts.flatMap((host, index) => ofProcesses(host, expected.idle[index] as Idle)));
    return found.length > 0 ? found : await ofMemory(looks);
  } catch (error) {
    return [`the pair cannot be looked at: ${inWords(error)}`];
  }
}

/** The same for one VM, while others migrate; without its host's processes and files. */
export async function vmViolations(pair: Pair, vm: PairVm): Promise<string[]> {
  try {
    const looks = await Promise.all(pair.hosts.map(look));
    const temporary = looks.flatMap(({ host, domains }) =>
      domains.flatMap(({ uuid }) =>
        uuid !== vm.uuid && uuid.startsWith(vm.uuid.slice(0, 24)) ? [`${host.name}: the uuid ${uuid} is left`] : [],
      ),
    );
    const found = [...temporary, ...(await ofVm(pair, vm, looks, false))];
    const own = looks.map((each) => ({ ...each, domains: each.domains.filter(({ uuid }) => uuid === vm.uuid) }));
    return found.length > 0 ? found : await ofMemory(own);
  } catch (error) {
    return [`the pair cannot be looked at: ${inWords(error)}`];
  }
}

async function look(host: PairHost): Promise<Look> {
  return host.ask(async (hypervisor) => {
    const { result: domains } = await hypervisor.call('list', {});
    const { result: memory } = await hypervisor.call('memory', {});
    return { host, domains, reserved: memory.reserved, used: memory.used };
  });
}

function ofProcesses(host: PairHost, idle: Idle): string[] {
  if (!host.runs()) return [`${host.name}: the daemon does not run`];
  const hypervisor = host.hypervisor();
  const left = processesOf(host.directory).filter(({ pid }) => pid !== host.daemon() && pid !== hypervisor);
  const zombies = [host.daemon(), ...(hypervisor === undefined ? [] : [hypervisor])].flatMap(zombiesOf);
  const { tcp, unix } = socketsOf(host.daemon());
  const files = filesOf(host);
  for (const file of idle.files) if (files.includes(file)) files.splice(files.indexOf(file), 1);
  return [
    ...left.map(({ pid, command }) => `${host.name}: process ${pid} is left: ${command}`),
    ...zombies.map((pid) => `${host.name}: zombie ${pid}`),
    ...(hypervisor === undefined || !lives(hypervisor) ? [`${host.name}: no hypervisor runs`] : []),
    ...(tcp > idle.tcp + keptConnections ? [`${host.name}: ${tcp} TCP sockets, ${idle.tcp} when idle`] : []),
    ...(unix !== idle.unix ? [`${host.name}: ${unix} Unix sockets, ${idle.unix} when idle`] : []),
    ...files.map((file) => `${host.name}: the file ${file} is left`),
  ];
}

/**
 * The files of a host, but for those that are counted with its domains, and some of the harness's own. A hypervisor names a
 * directory after itself.
 */
function filesOf(host: FaultHost): string[] {
  return host
    .files()
    .filter((file) => !/\.memory$|^memory\/emu-manager$|^xenopsd\.conf\.d\/fault\.conf$/.test(file))
    .map((file) => file.replace(/\b\d+-\d+-\d+-[0-9a-f]{16}\b/, '*'));
}

function ofBackend({ host, domains, reserved, used }: Look, pair: Pair): string[] {
  const uuids = new Set(pair.vms.map(({ uuid }) => uuid));
  const promised = domains.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  const memoryFiles = host.files().filter((file) => /\.memory$/.test(file)).length;
  return [
    ...domains.flatMap(({ uuid, state, handle }) =>
      uuids.has(uuid) ? [] : [`${host.name}: domain ${handle.domid} is ${state} under the uuid ${uuid}`],
    ),
    ...domains.flatMap(({ uuid, inDoubt }) => (inDoubt === undefined ? [] : [`${host.name}: ${uuid}: ${inDoubt}`])),
    ...(reserved === 0 ? [] : [`${host.name}: ${reserved} bytes are still promised`]),
    ...(used === promised ? [] : [`${host.name}: ${used} bytes are in use, ${promised} by domains`]),
    ...(memoryFiles === domains.length ? [] : [`${host.name}: ${memoryFiles} memory files, ${domains.length} domains`]),
  ];
}

async function ofRecords(pair: Pair): Promise<string[]> {
  const tasks = await pair.call<Record<string, { status: string; name_label: string }>>('task.get_all_records');
  const hosts = await pair.call<Record<string, HostRecord>>('host.get_all_records');
  const metrics = await pair.call<Record<string, { live: boolean }>>('host_metrics.get_all_records');
  return [
    ...Object.values(tasks).flatMap(({ status, name_label }) =>
      status === 'pending' || status === 'cancelling' ? [`task ${name_label} is ${status}`] : [],
    ),
    ...Object.values(hosts).flatMap((host) => [
      ...(metrics[host.metrics]?.live ? [] : [`${host.name_label} is not live`]),
      ...Object.values(host.current_operations).map((operation) => `${host.name_label}: ${operation} goes on`),
    ]),
  ];
}

interface HostRecord {
  readonly name_label: string;
  readonly metrics: string;
  readonly current_operations: Readonly<Record<string, string>>;
}

async function ofVm(pair: Pair, vm: PairVm, looks: readonly Look[], powerLost: boolean): Promise<string[]> {
  const record = await pair.call<VmRecord>('VM.get_record', vm.ref);
  const copies = looks.flatMap(({ host, domains }) =>
    domains.filter(({ uuid }) => uuid === vm.uuid).map((domain) => ({ host, domain })),
  );
  const doubt = record.other_config['xenferry:in-doubt'];
  const found = [
    ...Object.values(record.current_operations).map((operation) => `${vm.name}: ${operation} goes on`),
    ...(doubt === undefined ? [] : [`${vm.name} is in doubt: ${doubt}`]),
    ...(copies.length > 1 ? [`${vm.name} has ${copies.length} copies`] : []),
  ];
  const [copy] = copies;
  if (record.power_state === 'Halted') {
    if (copy !== undefined)
      found.push(`${vm.name} is Halted in its record and ${copy.domain.state} on ${copy.host.name}`);
    else if (!powerLost) found.push(`${vm.name} is lost: Halted, and on no host`);
    return found;
  }
  if (record.power_state !== 'Running') found.push(`${vm.name} is ${record.power_state} in its record`);
  if (copy === undefined) return [...found, `${vm.name} is ${record.power_state} in its record and on no host`];
  if (copy.domain.state !== 'running') found.push(`${vm.name} is ${copy.domain.state} on ${copy.host.name}`);
  if (copy.host.ref !== record.resident_on) found.push(`${vm.name} is on ${copy.host.name}, its record says elsewhere`);
  if (Number(record.domid) !== copy.domain.handle.domid)
    found.push(`${vm.name} has domid ${record.domid} in its record`);
  return found;
}

/** Every page of every domain is what its guest wrote. */
async function ofMemory(looks: readonly Look[]): Promise<string[]> {
  const found = looks.map(({ host, domains }) =>
    host.ask(async (hypervisor) => {
      const bad: string[] = [];
      for (const { handle, uuid } of domains) {
        const { result } = await hypervisor.call('verify', { handle });
        if (result.badPages > 0) bad.push(`${uuid} on ${host.name} is corrupt: ${result.badPages} bad pages`);
      }
      return bad;
    }),
  );
  return (await Promise.all(found)).flat();
}
