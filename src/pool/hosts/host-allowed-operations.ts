/** Which operations a host allows now, and the hold that a running one has on it. */
import type { Ref, TypeOf } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { Database } from '../database/database.js';
import { hold } from '../database/hold.js';

type HostOperation = TypeOf<'enum:host_allowed_operations'>;

/** What brings VMs to a host, and does not go together with what takes them from it. */
const arriving: readonly HostOperation[] = ['provision', 'vm_resume', 'vm_migrate'];

function updateHost(db: Database, ref: Ref<'host'>): void {
  const host = db.find('host', ref);
  if (host === undefined) return;
  const evacuating = Object.values(host.current_operations).includes('evacuate');
  const allowed: HostOperation[] = [
    ...(evacuating || !host.enabled ? [] : arriving),
    ...(host.enabled ? (['vm_start'] as const) : (['enable'] as const)),
    ...(evacuating ? [] : (['evacuate'] as const)),
  ];
  db.update('host', ref, { allowed_operations: allowed });
}

/**
 * Keep allowed_operations of every host right.
 * @returns stops it
 */
export function followHostOperations(db: Database): () => void {
  for (const [host] of db.all('host')) updateHost(db, host);
  return db.onChange((cls, ref) => {
    if (cls === 'host') updateHost(db, ref as Ref<'host'>);
  });
}

/** Empty a host, with the host held. @throws OTHER_OPERATION_IN_PROGRESS [class, host, operation, task] */
export async function withEvacuation<T>(
  db: Database,
  ref: Ref<'host'>,
  task: string,
  run: () => Promise<T>,
): Promise<T> {
  const [other] = Object.entries(db.get('host', ref).current_operations);
  if (other !== undefined) throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['host', ref, other[1], other[0]]);
  return hold(db, { cls: 'host', ref }, 'evacuate', task, run);
}
