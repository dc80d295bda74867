/** Forced ends come before a migration: it is cancelled, or waited for where it is past that, and the VM ended where it then is. */

import type { Ref } from '../../../idl/index.js';
import { messageOf, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { Database } from '../database/database.js';
import type { TaskService } from '../events/tasks.js';
import { isLive } from '../hosts/host-records.js';
import { refusal, type VmOperation } from '../vm-records/vm-allowed-operations.js';
import { migrations } from '../vm-records/vm-operation-rules.js';

export interface CutShortDeps {
  readonly db: Database;
  readonly tasks: Pick<TaskService, 'cancel'>;
  readonly log: Log;
}

/**
 * End the migration of a VM that the caller holds; fine where there is none.
 * @returns the power state of the VM then
 * @throws HANDLE_INVALID where the VM has gone to another pool, HOST_OFFLINE [host] where its host does not answer,
 *   what `refusal` says of a VM that is not halted
 */
export async function cutShort(
  { db, tasks, log }: CutShortDeps,
  vm: Ref<'VM'>,
  operation: VmOperation,
): Promise<'Halted' | 'Paused' | 'Running' | 'Suspended'> {
  const underWay = () =>
    Object.entries(db.find('VM', vm)?.current_operations ?? {}).filter(([, each]) => migrations.includes(each));
  for (const [task] of underWay()) {
    tasks.cancel(task as Ref<'task'>).catch((error: unknown) => {
      log.info(`VM ${vm}: ${operation} waits for its migration: ${messageOf(error)}`);
    });
  }
  await until(db, () => underWay().length === 0 || silentHost(db, vm) !== undefined);
  const silent = underWay().length === 0 ? undefined : silentHost(db, vm);
  if (silent !== undefined) throw new XapiError('HOST_OFFLINE', [silent]);
  const now = db.get('VM', vm);
  const refused = now.power_state === 'Halted' ? undefined : refusal(vm, { ...now, current_operations: {} }, operation);
  if (refused !== undefined) throw refused;
  return now.power_state;
}

/** The host of a VM, where it does not answer: how a migration from there goes is not known before it does. */
function silentHost(db: Database, vm: Ref<'VM'>): Ref<'host'> | undefined {
  const host = db.find('VM', vm)?.resident_on;
  return host !== undefined && db.find('host', host) !== undefined && !isLive(db, host) ? host : undefined;
}

/** Resolves when the condition holds, which is looked at with every change. */
function until(db: Database, condition: () => boolean): Promise<void> {
  if (condition()) return Promise.resolve();
  return new Promise((resolve) => {
    const stop = db.onChange(() => {
      if (!condition()) return;
      stop();
      resolve();
    });
  });
}
