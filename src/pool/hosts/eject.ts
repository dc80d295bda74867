/** pool.eject and host.destroy: a host leaves the pool, or is lost; the pool forgets it and what was on it alone. */
import type { Ref } from '../../../idl/index.js';
import { toXapiError, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { isUnknownSecret } from '../../host/service/secrets.js';
import { nullRef } from '../../model/value.js';
import type { Database } from '../database/database.js';
import type { MigrationTable } from '../database/migration-table.js';
import { removeControlDomain } from './control-domain.js';
import { isLive } from './host-records.js';
import type { PoolJobs } from './jobs.js';
import type { Members } from './members.js';
import type { PoolMembership } from './membership.js';
import { putPoolCpus } from './pool-cpus.js';
import type { SecretRotation } from './secret-rotation.js';

export interface EjectionDeps {
  readonly db: Database;
  readonly members: Members;
  readonly membership: PoolMembership;
  readonly jobs: Pick<PoolJobs, 'ofHost'>;
  readonly rotation: SecretRotation;
  readonly thisHost: () => Ref<'host'>;
  readonly log: Log;
}

/**
 * pool.eject: have a host leave the pool, and forget it.
 * @throws HANDLE_INVALID, OPERATION_NOT_ALLOWED for the coordinator, HOST_HAS_RESIDENT_VMS [host] for one that has VMs or the memory
 *   of suspended ones, OTHER_OPERATION_IN_PROGRESS for one from or to which a VM migrates, or that does something, HOST_OFFLINE [host] for one that cannot be
 *   told
 */
export async function eject(deps: EjectionDeps, host: Ref<'host'>): Promise<void> {
  const { db, members, membership, thisHost, log } = deps;
  const { uuid, hostname, name_label: name, enabled } = db.get('host', host);
  if (host === thisHost()) {
    throw new XapiError('OPERATION_NOT_ALLOWED', [`${host} (${name}) is the coordinator, which cannot be ejected`]);
  }
  assertNoVms(db, host);
  assertIdle(deps, host);
  if (!isLive(db, host)) throw new XapiError('HOST_OFFLINE', [host]);
  const { suspended = [] } = await members.state(host);
  if (suspended.some((uuid) => db.findByUuid('VM', uuid) !== undefined)) {
    throw new XapiError('HOST_HAS_RESIDENT_VMS', [host]);
  }
  // Nothing is to be started there meanwhile.
  db.update('host', host, { enabled: false });
  try {
    await tellToLeave(membership, members.url(host));
  } catch (error) {
    db.update('host', host, { enabled });
    const { code, params } = toXapiError(error);
    if (code === 'INTERNAL_ERROR') throw new XapiError('HOST_OFFLINE', [host], error);
    // A host names itself by its uuid.
    const named = params.map((param) => (param === uuid ? host : param));
    throw new XapiError(code, named, error);
  }
  log.info(`host ${hostname} has left the pool`);
  await forget(deps, host);
}

/**
 * host.destroy: forget a host that does not answer.
 * @throws HANDLE_INVALID, HOST_CANNOT_DESTROY_SELF [host] for the coordinator, HOST_IS_LIVE [host], HOST_HAS_RESIDENT_VMS [host] while
 *   records have VMs on it, OTHER_OPERATION_IN_PROGRESS while one migrates from or to it, or it may be doing something else
 */
export async function forgetLost(
  deps: EjectionDeps & { readonly table: MigrationTable },
  host: Ref<'host'>,
): Promise<void> {
  const { db, members, table, thisHost, log } = deps;
  const { hostname } = db.get('host', host);
  if (host === thisHost()) throw new XapiError('HOST_CANNOT_DESTROY_SELF', [host]);
  if (isLive(db, host) || (await members.revive(host))) throw new XapiError('HOST_IS_LIVE', [host]);
  assertNoVms(db, host);
  assertIdle(deps, host);
  const moving = table.departures().find(({ source, destination }) => source === host || destination === host);
  const going = moving ?? table.arrivals().find((arrival) => arrival.host === host);
  if (going !== undefined) {
    throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['host', host, 'vm_migrate', moving?.task ?? going.id]);
  }
  log.warn(`host ${hostname}, which does not answer, is forgotten`);
  await forget(deps, host);
}

function assertNoVms(db: Database, host: Ref<'host'>): void {
  const { resident_VMs } = db.get('host', host);
  if (resident_VMs.some((vm) => !db.get('VM', vm).is_control_domain)) {
    throw new XapiError('HOST_HAS_RESIDENT_VMS', [host]);
  }
}

/** What it may be doing could make a domain there of which the pool would know nothing. */
function assertIdle({ jobs }: EjectionDeps, host: Ref<'host'>): void {
  for (const { operation, task } of jobs.ofHost(host)) {
    throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['host', host, operation, task]);
  }
}

async function forget({ db, members, rotation }: EjectionDeps, host: Ref<'host'>): Promise<void> {
  await members.forget(host, () => removeHost(db, host));
  await rotation.left();
  await db.saved();
}

/** A host that knows no secret of this pool has left it already. */
async function tellToLeave(membership: PoolMembership, url: string): Promise<void> {
  try {
    await membership.control(url).leave();
  } catch (error) {
    if (!isUnknownSecret(error)) throw error;
  }
}

/** Remove a host's row, and the rows of what it alone has. Where others name one of them, they name nothing then. */
function removeHost(db: Database, host: Ref<'host'>): void {
  const { metrics, host_CPUs, PIFs, PBDs } = db.get('host', host);
  removeControlDomain(db, host);
  for (const [vm, { affinity }] of db.all('VM')) if (affinity === host) db.update('VM', vm, { affinity: nullRef });
  for (const pbd of PBDs) removePbd(db, pbd);
  for (const pif of PIFs) {
    const pifMetrics = db.get('PIF', pif).metrics;
    db.destroy('PIF', pif);
    if (db.find('PIF_metrics', pifMetrics) !== undefined) db.destroy('PIF_metrics', pifMetrics);
  }
  for (const cpu of host_CPUs) if (db.find('host_cpu', cpu) !== undefined) db.destroy('host_cpu', cpu);
  db.destroy('host', host);
  putPoolCpus(db);
  if (db.find('host_metrics', metrics) !== undefined) db.destroy('host_metrics', metrics);
}

/** The connection of a host to storage; storage that no other host reaches goes with it. */
function removePbd(db: Database, pbd: Ref<'PBD'>): void {
  const { SR } = db.get('PBD', pbd);
  db.destroy('PBD', pbd);
  const sr = db.find('SR', SR);
  if (sr === undefined || sr.PBDs.length > 0) return;
  for (const vdi of sr.VDIs) {
    for (const vbd of db.get('VDI', vdi).VBDs) db.destroy('VBD', vbd);
    db.destroy('VDI', vdi);
  }
  for (const [pool, row] of db.all('pool')) {
    for (const field of ['default_SR', 'suspend_image_SR', 'crash_dump_SR'] as const) {
      if (row[field] === SR) db.update('pool', pool, { [field]: nullRef });
    }
  }
  db.destroy('SR', SR);
}
