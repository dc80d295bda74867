/**
 * Which operations a VM allows now, and the hold that a running one has on it. Clients offer what allowed_operations names,
 * so it names what is implemented and would be accepted now, and nothing else.
 */
import type { Ref } from '../../../idl/index.js';
import { reason, type XapiError } from '../../base/errors.js';
import type { Database, RecordView } from '../database/database.js';
import { hold } from '../database/hold.js';
import { updateVbdOperations, updateVifOperations } from './device-allowed-operations.js';
import { inDoubtKey, settlingCommand } from './in-doubt.js';
import { type PowerState, type VmOperation, type VmRule, vmRules } from './vm-operation-rules.js';

export type { VmOperation } from './vm-operation-rules.js';

/** The key of other_config by which clients of old know a default template. */
export const defaultTemplateKey = 'default_template';

/**
 * Why an operation is refused now; undefined where it is accepted.
 * @returns NOT_IMPLEMENTED [operation], OPERATION_BLOCKED [vm, reason], VM_BAD_POWER_STATE [vm, expected, actual],
 *   OTHER_OPERATION_IN_PROGRESS [class, vm, operation, task], VM_IS_TEMPLATE [vm, operation], PROVISION_ONLY_ALLOWED_ON_TEMPLATE,
 *   OPERATION_NOT_ALLOWED [reason]
 */
export function refusal(ref: Ref<'VM'>, vm: RecordView<'VM'>, operation: VmOperation): XapiError | undefined {
  const blocked = vm.blocked_operations[operation];
  if (blocked !== undefined) return reason('OPERATION_BLOCKED', [ref, blocked]);
  const rule = vmRules[operation];
  if (rule === undefined) return reason('NOT_IMPLEMENTED', [operation]);
  if (!rule.states.includes(vm.power_state)) return badPowerState(ref, vm, rule.states);
  const other = conflict(vm, rule);
  if (other !== undefined) return reason('OTHER_OPERATION_IN_PROGRESS', ['VM', ref, other[1], other[0]]);
  if (vm.is_a_template && !fitsTemplate(vm, rule)) return reason('VM_IS_TEMPLATE', [ref]);
  if (!vm.is_a_template && rule.templates === 'alone') return reason('PROVISION_ONLY_ALLOWED_ON_TEMPLATE');
  if (vm.is_control_domain) {
    return reason('OPERATION_NOT_ALLOWED', [`${operation}: ${vm.name_label} is a control domain`]);
  }
  const doubt = vm.other_config[inDoubtKey];
  if (doubt === undefined || rule.inDoubt === true) return undefined;
  return reason('OPERATION_NOT_ALLOWED', [
    `${ref} (${vm.name_label}) is in doubt after a migration: ${doubt}. Where a host is gone for good: ${settlingCommand(vm.uuid)}`,
  ]);
}

/** What runs on the VM and does not go with the operation. */
function conflict(vm: RecordView<'VM'>, rule: VmRule): [task: string, operation: string] | undefined {
  return Object.entries(vm.current_operations).find(([, running]) => !rule.beside?.includes(running));
}

function fitsTemplate(vm: RecordView<'VM'>, rule: VmRule): boolean {
  if (rule.templates !== 'own') return rule.templates !== undefined;
  return !vm.is_default_template && vm.other_config[defaultTemplateKey] !== 'true';
}

/** Check that an operation is accepted now. @throws HANDLE_INVALID, what `refusal` says */
export function assertAllowed(db: Database, ref: Ref<'VM'>, operation: VmOperation): void {
  const refused = refusal(ref, db.get('VM', ref), operation);
  if (refused !== undefined) throw refused;
}

/**
 * The refusal of a VM in another power state.
 * @param expected the states in which the call would be accepted
 */
export function badPowerState(ref: Ref<'VM'>, vm: RecordView<'VM'>, expected: readonly PowerState[]): XapiError {
  const names = expected.map((state) => state.toLowerCase()).join(', ');
  return reason('VM_BAD_POWER_STATE', [ref, names, vm.power_state.toLowerCase()]);
}

const listed = (Object.entries(vmRules) as [VmOperation, VmRule][])
  .filter(([, { unlisted }]) => unlisted !== true)
  .map(([operation]) => operation);

/** Compute allowed_operations anew. @throws HANDLE_INVALID */
export function updateAllowedOperations(db: Database, ref: Ref<'VM'>): void {
  const vm = db.get('VM', ref);
  db.update('VM', ref, { allowed_operations: listed.filter((op) => refusal(ref, vm, op) === undefined) });
}

/**
 * Keep allowed_operations of every VM, VIF and VBD right whenever something changes that counts for them.
 * @returns stops it
 */
export function followAllowedOperations(db: Database): () => void {
  for (const [ref] of db.all('VM')) updateVm(db, ref);
  return db.onChange((cls, ref) => {
    if (cls === 'VM') updateVm(db, ref as Ref<'VM'>);
    if (cls === 'VIF') updateVifOperations(db, ref as Ref<'VIF'>);
    if (cls === 'VBD') {
      updateVbdOperations(db, ref as Ref<'VBD'>);
      updateSiblings(db, ref as Ref<'VBD'>);
    }
    if (cls === 'VDI') for (const vbd of db.find('VDI', ref as Ref<'VDI'>)?.VBDs ?? []) updateVbdOperations(db, vbd);
  });
}

function updateVm(db: Database, ref: Ref<'VM'>): void {
  const vm = db.find('VM', ref);
  if (vm === undefined) return;
  updateAllowedOperations(db, ref);
  for (const vif of vm.VIFs) updateVifOperations(db, vif);
  for (const vbd of vm.VBDs) updateVbdOperations(db, vbd);
}

/** What one VM has of a disk counts for the others. A CD is for everyone, and may be in very many drives. */
function updateSiblings(db: Database, ref: Ref<'VBD'>): void {
  const vbd = db.find('VBD', ref);
  if (vbd === undefined || vbd.type === 'CD') return;
  for (const other of db.find('VDI', vbd.VDI)?.VBDs ?? []) if (other !== ref) updateVbdOperations(db, other);
}

/**
 * Run an operation on a VM with the VM held.
 * @param task the task's reference; any other unique text where the call has none
 * @throws what `refusal` says, HANDLE_INVALID, what the operation throws
 */
export async function withVm<T>(
  db: Database,
  ref: Ref<'VM'>,
  operation: VmOperation,
  task: string,
  run: () => Promise<T>,
): Promise<T> {
  assertAllowed(db, ref, operation);
  return hold(db, { cls: 'VM', ref }, operation, task, run);
}
