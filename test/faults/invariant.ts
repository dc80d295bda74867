/**
 * The invariant of the migration protocol, looked for in the real system: back ends, records, processes, sockets, files.
 * After a fault at most one copy of a VM runs, and once all is settled one does, where its record says; nothing temporary is
 * left: no uuid, process, socket, reservation, task or file.
 */
import type { FaultHost } from './host.js';
import { inWords, type Pair, type PairHost, type PairVm, vmBytes } from './pair.js';
import { lives, processesOf, socketsOf, zombiesOf } from './processes.js';
import { freeWith, lookAtQemu, type SeenDomain } from './qemu.js';

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
  const { tcp, unix } = socketsOf(host.daemon());
  // The daemon is connected to the process of each domain.
  return { tcp, unix: unix - host.processes('qemu').length, files: filesOf(host) };
}

interface Look {
  readonly host: PairHost;
  readonly domains: readonly SeenDomain[];
  /** Bytes that are promised to nobody's use, and that are in use without a domain. */
  readonly reserved: number;
  readonly astray: number;
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
    const looks = await Promise.all(pair.hosts.map((host) => look(host, pair.call)));
    const found = [...looks.flatMap((each) => ofBackend(each, pair)), ...(await ofRecords(pair))];
    for (const vm of pair.vms) found.push(...(await ofVm(pair, vm, looks, expected.powerLost)));
    // What costs most is looked at last: all processes and sockets of the machine, and then all pages.
    if (found.length === 0)
      found.push(...looks.flatMap((each, index) => ofProcesses(each, expected.idle[index] as Idle)));
    return found.length > 0 ? found : await ofMemory(looks);
  } catch (error) {
    return [`the pair cannot be looked at: ${inWords(error)}`];
  }
}

/** The same for one VM, while others migrate; without its host's processes and files. */
export async function vmViolations(pair: Pair, vm: PairVm): Promise<string[]> {
  try {
    const looks = await Promise.all(pair.hosts.map((host) => look(host, pair.call)));
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

async function look(host: PairHost, call: Pair['call']): Promise<Look> {
  if (host.backend === 'qemu') {
    const domains = await lookAtQemu(host.directory);
    const free = Number(await call('host.compute_free_memory', host.ref));
    return { host, domains, reserved: 0, astray: freeWith(domains, vmBytes) - free };
  }
  return host.ask(async (hypervisor) => {
    const { result } = await hypervisor.call('list', {});
    const { result: memory } = await hypervisor.call('memory', {});
    const domains = result.map((domain) => ({ ...domain, domid: domain.handle.domid }));
    const promised = domains.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
    return { host, domains, reserved: memory.reserved, astray: memory.used - promised };
  });
}

function ofProcesses({ host, domains }: Look, idle: Idle): string[] {
  if (!host.runs()) return [`${host.name}: the daemon does not run`];
  const hypervisor = host.hypervisor();
  const known = [host.daemon(), hypervisor, ...domains.map(({ pid }) => pid)];
  const left = processesOf(host.directory).filter(({ pid }) => !known.includes(pid));
  const zombies = [host.daemon(), ...(hypervisor === undefined ? [] : [hypervisor])].flatMap(zombiesOf);
  const { tcp, unix } = idleOf(host);
  const files = filesOf(host);
  for (const file of idle.files) if (files.includes(file)) files.splice(files.indexOf(file), 1);
  return [
    ...left.map(({ pid, command }) => `${host.name}: process ${pid} is left: ${command}`),
    ...zombies.map((pid) => `${host.name}: zombie ${pid}`),
    ...(host.backend === 'simulator' && (hypervisor === undefined || !lives(hypervisor))
      ? [`${host.name}: no hypervisor runs`]
      : []),
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
    .filter(
      (file) =>
        !/\.memory$|^qemu\/\d+(\/(?!migration\.sock)|$)|^memory\/emu-manager$|^xenopsd\.conf\.d\/fault\.conf$/.test(
          file,
        ),
    )
    .map((file) => file.replace(/\b\d+-\d+-\d+-[0-9a-f]{16}\b/, '*'));
}

function ofBackend({ host, domains, reserved, astray }: Look, pair: Pair): string[] {
  const uuids = new Set(pair.vms.map(({ uuid }) => uuid));
  const memoryFiles = host.files().filter((file) => /\.memory$|^qemu\/\d+$/.test(file)).length;
  return [
    ...domains.flatMap(({ uuid, state, domid }) =>
      uuids.has(uuid) ? [] : [`${host.name}: domain ${domid} is ${state} under the uuid ${uuid}`],
    ),
    ...domains.flatMap(({ uuid, inDoubt }) => (inDoubt === undefined ? [] : [`${host.name}: ${uuid}: ${inDoubt}`])),
    ...(reserved === 0 ? [] : [`${host.name}: ${reserved} bytes are still promised`]),
    ...(astray === 0 ? [] : [`${host.name}: ${astray} bytes are in use by no domain`]),
    ...(memoryFiles === domains.length ? [] : [`${host.name}: ${memoryFiles} memories, ${domains.length} domains`]),
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
  if (Number(record.domid) !== copy.domain.domid) found.push(`${vm.name} has domid ${record.domid} in its record`);
  return found;
}

/** Every page of every domain is what its guest wrote. */
async function ofMemory(looks: readonly Look[]): Promise<string[]> {
  // With QEMU the digests of a migration say that, and its own guest does.
  const simulated = looks.filter(({ host }) => host.backend === 'simulator');
  const among = new Set(simulated.flatMap(({ domains }) => domains.map(({ uuid }) => uuid)));
  const found = simulated.map(({ host }) =>
    host.ask(async (hypervisor) => {
      const bad: string[] = [];
      const { result: domains } = await hypervisor.call('list', {});
      for (const { handle, uuid } of domains) {
        if (!among.has(uuid)) continue;
        const { result } = await hypervisor.call('verify', { handle });
        if (result.badPages > 0) bad.push(`${uuid} on ${host.name} is corrupt: ${result.badPages} bad pages`);
      }
      return bad;
    }),
  );
  return (await Promise.all(found)).flat();
}
