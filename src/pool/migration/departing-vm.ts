/**
 * A VM that leaves for another pool. Its record was read when it left, and goes at the end: what somebody wrote to it in between
 * would be lost, so it is refused.
 */
import type { ClassName, Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { Database } from '../database/database.js';
import type { MigrationTable } from '../database/migration-table.js';

/** The classes whose rows travel with a VM. */
type Travelling = 'VM' | 'VIF' | 'VBD' | 'VGPU';
const devices: ReadonlySet<ClassName> = new Set(['VIF', 'VBD', 'VGPU']);

/**
 * For a write to a row, whatever it is and whether or not it is there.
 * @throws OTHER_OPERATION_IN_PROGRESS [VM, vm, migrate_send, task] where it is a VM's, or a VM's device's, that leaves for another pool
 */
export function assertNotDeparting(
  db: Database,
  table: Pick<MigrationTable, 'departures'>,
  cls: ClassName,
  ref: string,
): void {
  if (cls !== 'VM' && !devices.has(cls)) return;
  const vm = cls === 'VM' ? ref : db.find(cls as 'VIF', ref as Ref<'VIF'>)?.VM;
  const row = table.departures().find((each) => each.vm === vm && each.destination === undefined);
  if (row !== undefined) throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', row.vm, row.operation, row.task]);
}

const writes = /^(set|add|remove)_/;

/** A class's handlers: those that write a field refuse to, as `assertNotDeparting` says. */
export function withoutDeparting<H extends object>(
  db: Database,
  table: Pick<MigrationTable, 'departures'>,
  cls: Travelling,
  handlers: H,
): H {
  const guarded = Object.entries(handlers).map(([name, handler]) => [
    name,
    writes.test(name)
      ? (context: unknown, ref: string, ...rest: unknown[]): unknown => {
          assertNotDeparting(db, table, cls, ref);
          return handler(context, ref, ...rest);
        }
      : handler,
  ]);
  return Object.fromEntries(guarded) as H;
}
