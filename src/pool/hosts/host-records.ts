/** A host's rows: itself, its metrics and what it has; from what the host says of itself. */
import { apiVersion, type RecordOf, type Ref } from '../../../idl/index.js';
import { defined } from '../../base/defined.js';
import type { HostState } from '../../host/service/service.js';
import type { Database } from '../database/database.js';
import { tellOfHost } from '../events/messages.js';
import { putControlDomain } from './control-domain.js';
import { cpuInfo, putCpus, putInterface } from './host-device-records.js';
import { putPoolCpus } from './pool-cpus.js';

/** The key of other_config of a host that was disabled for longer than its daemon runs. */
export const staysDisabledKey = 'xenferry:stays-disabled';

/**
 * Make a host's rows, or bring them up to date: its daemon has started. A host that was disabled is enabled again, unless that
 * was meant to stay.
 * @param version xenferry's own version
 */
export async function putHost(db: Database, state: HostState, version: string, now: Date): Promise<Ref<'host'>> {
  const address = new URL(state.url).hostname.replace(/^\[|\]$/g, '');
  const host = db.findByUuid('host', state.uuid) ?? createHost(db, state, version);
  const enabled = db.get('host', host).other_config[staysDisabledKey] === undefined;
  const said = {
    address,
    hostname: state.name,
    cpu_info: cpuInfo(state),
    software_version: softwareVersion(state, version),
  };
  tellOfFeatures(db, host, said.cpu_info.flags, now);
  db.update('host', host, { ...said, enabled, ...bornOf(state) });
  putTimes(db, host, state);
  putMetrics(db, host, state, now);
  putCpus(db, host, state);
  putPoolCpus(db);
  putControlDomain(db, host, state, now);
  await putInterface(db, host, state, now);
  return host;
}

/** What the host says of its machine's firmware; of an earlier version, nothing. */
function bornOf({ machine }: HostState): Partial<RecordOf<'host'>> {
  return defined({ bios_strings: machine?.bios });
}

/** When machine and daemon have started, as clients look for it: seconds as OCaml prints a whole float. */
function putTimes(db: Database, host: Ref<'host'>, { machine, startedAt }: HostState): void {
  for (const [key, seconds] of Object.entries({ boot_time: machine?.bootTime, agent_start_time: startedAt })) {
    if (seconds !== undefined) db.putInMap('host', host, 'other_config', key, `${seconds}.`);
  }
}

/** Tell of features of the CPUs that have come or gone since the host's daemon last started; VMs may not go everywhere any more. */
function tellOfFeatures(db: Database, host: Ref<'host'>, flags: string | undefined, time: Date): void {
  const [before, after] = [db.get('host', host).cpu_info.flags, flags].map((text) => (text ?? '').split(' '));
  const missing = (from: readonly string[] = [], of: readonly string[] = []) =>
    from.filter((flag) => !of.includes(flag));
  const [gone, come] = [missing(before, after), missing(after, before)];
  if (before?.join() === '') return;
  const deps = { db, now: () => time };
  if (gone.length > 0)
    tellOfHost(deps, 'HOST_CPU_FEATURES_DOWN', host, `has lost features of its CPUs: ${gone.join(' ')}`);
  else if (come.length > 0)
    tellOfHost(deps, 'HOST_CPU_FEATURES_UP', host, `has new features of its CPUs: ${come.join(' ')}`);
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

/** Whether a host answered when it was asked last. */
export function isLive(db: Database, host: Ref<'host'>): boolean {
  return db.find('host_metrics', db.get('host', host).metrics)?.live ?? false;
}

/** Graphical clients take a feature whose restriction is absent for one that is not licensed. */
const unrestricted = { restrict_pooling: 'false', restrict_xen_motion: 'false', restrict_storage_xen_motion: 'false' };

function createHost(db: Database, state: HostState, version: string): Ref<'host'> {
  return db.create('host', {
    uuid: state.uuid,
    name_label: state.name,
    metrics: db.create('host_metrics', {}),
    API_version_major: apiVersion.major,
    API_version_minor: apiVersion.minor,
    API_version_vendor: 'xenferry',
    capabilities: ['hvm-3.0-x86_64'],
    sched_policy: 'credit',
    ssl_legacy: false,
    edition: 'free',
    editions: ['free'],
    license_params: { sku_type: 'free', version, ...unrestricted },
  });
}

/** What clients read to know with whom they speak. */
function softwareVersion(state: HostState, version: string): Record<string, string> {
  return {
    product_brand: 'xenferry',
    product_version: '8.3.0',
    product_version_text: '8.3',
    product_version_text_short: '8.3',
    platform_name: 'xenferry',
    platform_version: '3.4.0',
    build_number: version,
    hostname: state.name,
    network_backend: 'bridge',
    xapi: `${apiVersion.major}.${apiVersion.minor}`,
    xenferry: version,
    backend: state.backend ?? 'simulator',
  };
}
