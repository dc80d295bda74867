/**
 * The control domain of each host, which clients look for: a VM that is always there and that nobody starts, stops or moves.
 * What runs in it is the host's own system. It has none of the memory that is for domains, so it shows none.
 */
import type { Ref } from '../../../idl/index.js';
import type { HostState } from '../../host/service/service.js';
import type { Database } from '../database/database.js';
import { removeVm } from '../vm-records/lifecycle.js';

/** Make a host's control domain, or bring it up to date. */
export function putControlDomain(
  db: Database,
  host: Ref<'host'>,
  { name, cpus }: Pick<HostState, 'name' | 'cpus'>,
  now: Date,
): void {
  const known = db.get('host', host).control_domain;
  const vm = db.find('VM', known) === undefined ? create(db, host, now) : known;
  db.update('VM', vm, {
    name_label: `Control domain on host: ${name}`,
    VCPUs_max: cpus,
    VCPUs_at_startup: cpus,
  });
  db.update('VM_metrics', db.get('VM', vm).metrics, { VCPUs_number: cpus });
  db.update('host', host, { control_domain: vm });
}

function create(db: Database, host: Ref<'host'>, now: Date): Ref<'VM'> {
  return db.create('VM', {
    name_description: 'The system of the host itself',
    is_control_domain: true,
    power_state: 'Running',
    resident_on: host,
    affinity: host,
    domid: 0,
    domarch: 'x86_64',
    domain_type: 'pv',
    has_vendor_device: false,
    user_version: 1,
    metrics: db.create('VM_metrics', {
      state: ['running'],
      start_time: now,
      last_updated: now,
      current_domain_type: 'pv',
    }),
  });
}

/** Remove the control domain of a host that leaves the pool. */
export function removeControlDomain(db: Database, host: Ref<'host'>): void {
  removeVm(db, db.get('host', host).control_domain);
}
