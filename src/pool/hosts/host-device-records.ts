/** The rows of what a host has: its CPUs, and its interface on the network where hosts are reached. */
import { createHash } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import type { Ref } from '../../../idl/index.js';
import type { CpuDescription } from '../../host/service/machine.js';
import type { HostState } from '../../host/service/service.js';
import type { Database } from '../database/database.js';

/** The bridge of the network that every host is on. */
const managementBridge = 'xenbr0';

/** What is shown of a CPU of which nothing is known. */
const unknownCpu: CpuDescription = {
  vendor: 'unknown',
  modelname: 'unknown',
  speed: 0,
  family: 0,
  model: 0,
  stepping: '0',
  flags: '',
};

/** The value of host.cpu_info. */
export function cpuInfo({ cpus, machine }: HostState): Record<string, string> {
  const { vendor, modelname, speed, family, model, stepping, flags } = machine?.cpu ?? unknownCpu;
  return {
    cpu_count: String(cpus),
    socket_count: '1',
    threads_per_core: '1',
    vendor,
    modelname,
    speed: String(speed),
    family: String(family),
    model: String(model),
    stepping,
    flags,
    features: '',
    features_hvm: '',
    features_pv: '',
  };
}

/** A row for each CPU that the host has, and no more. */
export function putCpus(db: Database, host: Ref<'host'>, { cpus, machine }: HostState): void {
  const cpu = machine?.cpu ?? unknownCpu;
  const known = db.all('host_cpu').filter(([, row]) => row.host === host);
  for (let number = 0; number < cpus; number += 1) {
    const row = known.find(([, each]) => each.number === number);
    if (row === undefined) db.create('host_cpu', { host, number, ...cpu });
    else db.update('host_cpu', row[0], { ...cpu });
  }
  for (const [ref, row] of known) if (row.number >= cpus) db.destroy('host_cpu', ref);
}

function managementNetwork(db: Database): Ref<'network'> {
  const found = db.all('network').find(([, network]) => network.bridge === managementBridge);
  return (
    found?.[0] ??
    db.create('network', {
      name_label: 'Pool-wide network associated with eth0',
      name_description: 'The network on which hosts are reached and VMs migrate',
      bridge: managementBridge,
      MTU: 1500,
    })
  );
}

/** The interface at which the host is reached; where the machine does not show it, one is made up from the host's uuid. */
export async function putInterface(db: Database, host: Ref<'host'>, state: HostState, now: Date): Promise<void> {
  const ip = await ipOf(new URL(state.url).hostname.replace(/^\[|\]$/g, ''));
  const seen = state.machine?.interface;
  const device = seen?.device ?? 'eth0';
  const fields = {
    device,
    MAC: seen?.mac ?? macOf(state.uuid),
    IP: ip.family === 4 ? ip.address : '',
    netmask: ip.family === 4 ? (seen?.netmask ?? '') : '',
    IPv6: ip.family === 6 ? [ip.address] : [],
    primary_address_type: ip.family === 6 ? ('IPv6' as const) : ('IPv4' as const),
    ip_configuration_mode: 'Static' as const,
    ipv6_configuration_mode: ip.family === 6 ? ('Static' as const) : ('None' as const),
  };
  const known = db.get('host', host).PIFs.find((pif) => db.get('PIF', pif).management);
  const metrics = known === undefined ? undefined : db.find('PIF_metrics', db.get('PIF', known).metrics);
  if (known !== undefined && metrics !== undefined) return db.update('PIF', known, fields);
  const made = { carrier: true, device_name: device, duplex: true, last_updated: now };
  const row = { ...fields, metrics: db.create('PIF_metrics', made) };
  if (known !== undefined) return db.update('PIF', known, row);
  const fixed = { host, network: managementNetwork(db), MTU: 1500, VLAN: -1, physical: true };
  db.create('PIF', { ...row, ...fixed, management: true, currently_attached: true });
}

interface Address {
  readonly address: string;
  readonly family: number;
}

/** Of a name that cannot be looked up now: no address. */
async function ipOf(name: string): Promise<Address> {
  return lookup(name).catch(() => ({ address: '', family: 0 }));
}

/** An address that is locally administered and always the same for the same text. */
function macOf(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 5);
  return ['02', ...[...bytes].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}
