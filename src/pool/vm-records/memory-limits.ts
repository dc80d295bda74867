/** The memory limits of a VM: their order, and what a domain can be made of. */
import type { RecordOf, Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { Database } from '../database/database.js';
import { assertAllowed } from './vm-allowed-operations.js';
import type { VmOperation } from './vm-operation-rules.js';

/** Bytes. */
export type MemoryLimits = Pick<
  RecordOf<'VM'>,
  'memory_static_min' | 'memory_dynamic_min' | 'memory_dynamic_max' | 'memory_static_max'
>;

/**
 * @throws MEMORY_CONSTRAINT_VIOLATION_ORDER unless 0 <= static_min <= dynamic_min <= dynamic_max <= static_max,
 *   INVALID_VALUE [field, value] where no domain can be made of them
 */
export function assertMemoryLimits(limits: Readonly<MemoryLimits>): void {
  const { memory_static_min, memory_dynamic_min, memory_dynamic_max, memory_static_max } = limits;
  const ordered =
    0 <= memory_static_min &&
    memory_static_min <= memory_dynamic_min &&
    memory_dynamic_min <= memory_dynamic_max &&
    memory_dynamic_max <= memory_static_max;
  if (!ordered) throw new XapiError('MEMORY_CONSTRAINT_VIOLATION_ORDER');
  domainMemory(limits);
}

const mebibyte = 2 ** 20;

/**
 * The bytes that a VM's domain gets: its limit, rounded up to whole MiB as xapi does.
 * @throws INVALID_VALUE [field, value] for a limit of which no domain can be made
 */
export function domainMemory({ memory_static_max: limit }: Pick<MemoryLimits, 'memory_static_max'>): number {
  const bytes = Math.ceil(limit / mebibyte) * mebibyte;
  if (limit > 0 && Number.isSafeInteger(bytes)) return bytes;
  throw new XapiError('INVALID_VALUE', ['memory_static_max', String(limit)]);
}

/**
 * Change some of a VM's limits; its target becomes the least that it may have, as xapi does.
 * @param operation what the change counts as
 * @throws what `refusal` of allowed-operations and `assertMemoryLimits` say
 */
export async function setMemoryLimits(
  db: Database,
  vm: Ref<'VM'>,
  operation: VmOperation,
  change: Partial<MemoryLimits>,
): Promise<void> {
  assertAllowed(db, vm, operation);
  const limits = { ...db.get('VM', vm), ...change };
  assertMemoryLimits(limits);
  db.update('VM', vm, { ...change, memory_target: limits.memory_dynamic_min });
  await db.saved();
}
