/** A host's rows: itself, its metrics, its interface on the pool's network, its local storage; from what the host says of itself. */
import { createHash } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { apiVersion, type Ref } from '../../idl/index.js';
import type { HostState } from '../host/service.js';
import type { Database } from './database.js';

/** The bridge of the network that every host is on. */
const managementBridge = 'xenbr0';

/**
 * Make a host's rows, or bring them up to date.
 * @param version xenferry's own version
 */
export async function putHost(db: Database, state: HostState, version: string, now: Date): Promise<Ref<'host'>> {
  const address = new URL(state.url).hostname.replace(/^\[|\]$/g, '');
  const ip = await ipOf(address);
  const host = db.findByUuid('host', state.uuid) ?? createHost(db, state, version);
  db.update('host', host, { address, hostname: state.name, enabled: true, cpu_info: cpuInfo(state.cpus) });
  putMetrics(db, host, state, now);
  putInterface(db, host, state.uuid, ip);
  if (db.get('host', host).PBDs.length === 0) createLocalStorage(db, host);
  return host;
}

/** The host answers: it is live, and has so much memory. */
export function putMetrics(db: Database, host: Ref<'host'>, state: HostState, now: Date): void {
  const metrics = db.get('host', host).metrics;
  const row = db.get('host_metrics', metrics);
  if (row.live && row.memory_total === state.memoryTotal && row.memory_free === state.memoryFree) return;
  db.update('host_metrics', metrics, {
    live: true,
    memory_total: state.memoryTotal,
    memory_free: state.memoryFree,
    last_updated: now,
  });
}

/** The host does not answer. */
export function markNotLive(db: Database, host: Ref<'host'>, now: Date): void {
  const metrics = db.get('host', host).metrics;
  if (db.get('host_metrics', metrics).live) db.update('host_metrics', metrics, { live: false, last_updated: now });
}

export function isLive(db: Database, host: Ref<'host'>): boolean {
  return db.find('host_metrics', db.get('host', host).metrics)?.live ?? false;
}

function createHost(db: Database, state: HostState, version: string): Ref<'host'> {
  return db.create('host', {
    uuid: state.uuid,
    name_label: state.name,
    metrics: db.create('host_metrics', {}),
    API_version_major: apiVersion.major,
    API_version_minor: apiVersion.minor,
    API_version_vendor: 'xenferry',
    software_version: {
      product_brand: 'xenferry',
      product_version: '8.3.0',
      product_version_text: '8.3',
      platform_name: 'xenferry',
      platform_version: '3.4.0',
      xapi: `${apiVersion.major}.${apiVersion.minor}`,
      xenferry: version,
    },
    allowed_operations: ['vm_start', 'vm_migrate'],
    capabilities: ['hvm-3.0-x86_64'],
    sched_policy: 'credit',
    ssl_legacy: false,
    edition: 'free',
    editions: ['free'],
    license_params: { sku_type: 'free', version },
  });
}

/** The fields that clients read of it; the CPU's make is not known here. */
function cpuInfo(cpus: number): Record<string, string> {
  return {
    cpu_count: String(cpus),
    socket_count: '1',
    threads_per_core: '1',
    vendor: 'unknown',
    modelname: 'unknown',
    speed: '0',
    family: '0',
    model: '0',
    stepping: '0',
    flags: '',
    features: '',
    features_hvm: '',
    features_pv: '',
  };
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

function putInterface(db: Database, host: Ref<'host'>, uuid: string, ip: Address): void {
  const fields = {
    IP: ip.family === 4 ? ip.address : '',
    IPv6: ip.family === 6 ? [ip.address] : [],
    primary_address_type: ip.family === 6 ? ('IPv6' as const) : ('IPv4' as const),
    ip_configuration_mode: 'Static' as const,
    ipv6_configuration_mode: ip.family === 6 ? ('Static' as const) : ('None' as const),
  };
  const known = db.get('host', host).PIFs.find((pif) => db.get('PIF', pif).management);
  if (known !== undefined) {
    db.update('PIF', known, fields);
    return;
  }
  db.create('PIF', {
    ...fields,
    device: 'eth0',
    network: managementNetwork(db),
    host,
    MAC: macOf(uuid),
    MTU: 1500,
    VLAN: -1,
    physical: true,
    management: true,
    currently_attached: true,
  });
}

function createLocalStorage(db: Database, host: Ref<'host'>): void {
  const SR = db.create('SR', { name_label: 'Local storage', type: 'dummy', content_type: 'user' });
  db.create('PBD', { host, SR, device_config: {}, currently_attached: true });
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
