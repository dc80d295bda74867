/**
 * Which operations a VM allows now, and the hold that a running one has on it. Clients offer what allowed_operations names,
 * so it names what is implemented and would be accepted now, and nothing else.
 */
import type { RecordOf, Ref, TypeOf } from '../../idl/index.js';
import { XapiError } from '../base/errors.js';
import type { Database, RecordView } from './database.js';

export type VmOperation = TypeOf<'enum:vm_operations'>;
type VM = RecordOf<'VM'>;
type PowerState = VM['power_state'];

/** The key of other_config that says why a VM is in doubt: nobody knows yet on which of two hosts it will run. */
export const inDoubtKey = 'xenferry:in-doubt';

/** The implemented operations with the power states in which each is accepted. */
const powerStates: Partial<Record<VmOperation, readonly PowerState[]>> = {
  start: ['Halted'],
  start_on: ['Halted'],
  destroy: ['Halted'],
  pause: ['Running'],
  unpause: ['Paused'],
  clean_shutdown: ['Running'],
  hard_shutdown: ['Running', 'Paused'],
  shutdown: ['Running', 'Paused'],
  pool_migrate: ['Running', 'Paused'],
  migrate_send: ['Running', 'Paused'],
};

const onTemplates: ReadonlySet<VmOperation> = new Set(['destroy']);

/**
 * Why an operation is refused now; undefined where it is accepted.
 * @returns OPERATION_BLOCKED [vm, reason], VM_IS_TEMPLATE [vm], VM_BAD_POWER_STATE [vm, expected, actual],
 *   OTHER_OPERATION_IN_PROGRESS [class, vm, operation, task], OPERATION_NOT_ALLOWED [reason]
 */
export function refusal(ref: Ref<'VM'>, vm: RecordView<'VM'>, operation: VmOperation): XapiError | undefined {
  return whyNot(ref, vm, operation)?.();
}

/** The error is made only where it is wanted: to make one costs far more than to look. */
function whyNot(ref: Ref<'VM'>, vm: RecordView<'VM'>, operation: VmOperation): (() => XapiError) | undefined {
  const blocked = vm.blocked_operations[operation];
  if (blocked !== undefined) return () => new XapiError('OPERATION_BLOCKED', [ref, blocked]);
  if (vm.is_a_template && !onTemplates.has(operation)) return () => new XapiError('VM_IS_TEMPLATE', [ref]);
  const expected = powerStates[operation] ?? [];
  if (!expected.includes(vm.power_state)) return () => badPowerState(ref, vm, expected);
  const [other] = Object.entries(vm.current_operations);
  if (other !== undefined) return () => new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', ref, other[1], other[0]]);
  const doubt = vm.other_config[inDoubtKey];
  if (doubt === undefined) return undefined;
  const reason = `${ref} (${vm.name_label}) is in doubt after a migration: ${doubt}`;
  return () => new XapiError('OPERATION_NOT_ALLOWED', [reason]);
}

/** @param expected the states in which the call would be accepted */
export function badPowerState(ref: Ref<'VM'>, vm: RecordView<'VM'>, expected: readonly PowerState[]): XapiError {
  const names = expected.map((state) => state.toLowerCase()).join(', ');
  return new XapiError('VM_BAD_POWER_STATE', [ref, names, vm.power_state.toLowerCase()]);
}

/** Compute allowed_operations anew. @throws HANDLE_INVALID */
export function updateAllowedOperations(db: Database, ref: Ref<'VM'>): void {
  const vm = db.get('VM', ref);
  const operations = Object.keys(powerStates) as VmOperation[];
  db.update('VM', ref, { allowed_operations: operations.filter((op) => whyNot(ref, vm, op) === undefined) });
}

/** Keep allowed_operations of every VM right whenever its row changes. @returns stops it */
export function followAllowedOperations(db: Database): () => void {
  for (const [ref] of db.all('VM')) updateAllowedOperations(db, ref);
  return db.onChange((cls, ref) => {
    if (cls === 'VM' && db.find('VM', ref as Ref<'VM'>) !== undefined) updateAllowedOperations(db, ref as Ref<'VM'>);
  });
}

/**
 * Take hold of a VM for an operation, shown in current_operations under the task until `release`.
 * @param task the task's reference; any other unique text where the call has none
 * @throws what `refusal` says, HANDLE_INVALID
 */
function holdVm(db: Database, ref: Ref<'VM'>, operation: VmOperation, task: string): { release(): void } {
  const refused = refusal(ref, db.get('VM', ref), operation);
  if (refused !== undefined) throw refused;
  db.putInMap('VM', ref, 'current_operations', task, operation);
  return {
    release() {
      if (db.find('VM', ref) !== undefined) db.removeFromMap('VM', ref, 'current_operations', task);
    },
  };
}

/** Run an operation on a VM with the VM held. @throws what `holdVm` and the operation throw */
export async function withVm<T>(
  db: Database,
  ref: Ref<'VM'>,
  operation: VmOperation,
  task: string,
  run: () => Promise<T>,
): Promise<T> {
  const hold = holdVm(db, ref, operation, task);
  try {
    return await run();
  } finally {
    hold.release();
  }
}
