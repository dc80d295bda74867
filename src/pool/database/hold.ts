/** The hold that an operation has on an object, which the object's current_operations show while the operation runs. */
import type { Ref } from '../../../idl/index.js';
import type { Database } from './database.js';

/** An object whose row shows the operations on it. */
export interface Holdable {
  readonly cls: 'VM' | 'VIF' | 'VBD' | 'SR' | 'VDI' | 'host';
  readonly ref: Ref;
}

/**
 * Run an operation on an object, with the object held until the operation has ended.
 * @param task the task's reference; any other unique text where the call has none
 * @throws HANDLE_INVALID, what `run` throws
 */
export async function hold<T>(
  db: Database,
  object: Holdable,
  operation: string,
  task: string,
  run: () => Promise<T>,
): Promise<T> {
  beginHold(db, object, operation, task);
  try {
    return await run();
  } finally {
    endHold(db, object, task);
  }
}

/** Hold an object until `endHold`; another operation under the same task takes the place of the one before. @throws HANDLE_INVALID */
export function beginHold(db: Database, { cls, ref }: Holdable, operation: string, task: string): void {
  db.putInMap(cls, ref, 'current_operations', task, operation);
}

/** Let go of an object; fine where the object is gone, or is not held under this task. */
export function endHold(db: Database, { cls, ref }: Holdable, task: string): void {
  if (isThere(db, { cls, ref })) db.removeFromMap(cls, ref, 'current_operations', task);
}

function isThere(db: Database, { cls, ref }: Holdable): boolean {
  return db.find<Holdable['cls']>(cls, ref as Ref<Holdable['cls']>) !== undefined;
}
