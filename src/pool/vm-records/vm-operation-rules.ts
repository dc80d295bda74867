/** The operations on VMs that are implemented, and when each is accepted. What clients know of them is xapi's. */
import type { RecordOf, TypeOf } from '../../../idl/index.js';

export type VmOperation = TypeOf<'enum:vm_operations'>;
export type PowerState = RecordOf<'VM'>['power_state'];

export interface VmRule {
  /** The power states in which the operation is accepted. */
  readonly states: readonly PowerState[];
  /** Whether the operation is accepted on templates too, on templates alone, or on templates that a user has made. */
  readonly templates?: 'too' | 'alone' | 'own';
  /** The operations beside which this one is accepted. */
  readonly beside?: readonly VmOperation[];
  /** Left out of allowed_operations, as clients do not look there for the operation. */
  readonly unlisted?: true;
  /** Accepted for a VM that is in doubt. */
  readonly inDoubt?: true;
}

/** The operations that a forced end cuts short. */
export const migrations: readonly VmOperation[] = ['pool_migrate', 'migrate_send'];
const copies: readonly VmOperation[] = ['clone', 'copy'];
/** The operations that have a host do something. */
const onHosts: readonly VmOperation[] = [
  ...(['start', 'start_on', 'pause', 'unpause', 'suspend', 'resume', 'resume_on', 'destroy'] as const),
  ...(['clean_shutdown', 'hard_shutdown', 'shutdown', 'clean_reboot', 'hard_reboot'] as const),
];
const all: readonly PowerState[] = ['Halted', 'Paused', 'Running', 'Suspended'];

export const vmRules: Readonly<Partial<Record<VmOperation, VmRule>>> = {
  clone: { states: ['Halted'], templates: 'too', beside: copies, inDoubt: true },
  copy: { states: ['Halted'], templates: 'too', beside: copies, inDoubt: true },
  provision: { states: ['Halted'], templates: 'alone' },
  start: { states: ['Halted'] },
  start_on: { states: ['Halted'] },
  pause: { states: ['Running'] },
  unpause: { states: ['Paused'] },
  clean_shutdown: { states: ['Running'] },
  clean_reboot: { states: ['Running'] },
  hard_shutdown: { states: ['Paused', 'Suspended', 'Running'], beside: migrations },
  shutdown: { states: ['Paused', 'Suspended', 'Running'], unlisted: true },
  hard_reboot: { states: ['Paused', 'Running'], beside: migrations },
  suspend: { states: ['Running'] },
  resume: { states: ['Suspended'] },
  resume_on: { states: ['Suspended'] },
  pool_migrate: { states: ['Running'] },
  migrate_send: { states: ['Running', 'Paused', 'Halted', 'Suspended'] },
  destroy: { states: ['Halted', 'Suspended'], templates: 'own' },
  power_state_reset: { states: all, beside: [...migrations, ...onHosts], unlisted: true, inDoubt: true },
  make_into_template: { states: ['Halted'] },
  changing_dynamic_range: { states: ['Halted', 'Running'], templates: 'too' },
  changing_static_range: { states: ['Halted'], templates: 'too' },
  changing_memory_limits: { states: ['Halted'], templates: 'too', unlisted: true },
  changing_shadow_memory: { states: ['Halted'], templates: 'too' },
  changing_VCPUs: { states: ['Halted'], templates: 'too', unlisted: true },
  changing_NVRAM: { states: ['Halted'], templates: 'too' },
  assert_operation_valid: { states: all, templates: 'too', unlisted: true, inDoubt: true },
  update_allowed_operations: { states: all, templates: 'too', unlisted: true, inDoubt: true },
};

/** Whether a name is that of an operation that is implemented. */
export function isVmOperation(name: string): name is VmOperation {
  return Object.hasOwn(vmRules, name);
}
