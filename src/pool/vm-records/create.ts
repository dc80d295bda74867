/** What VM.create accepts. */
import type { RecordOf, Ref } from '../../../idl/index.js';
import { invalidValue } from '../../base/errors.js';
import { type DomainDeps, domainSpec, noDevices } from './domain-spec.js';
import { withoutDoubts } from './in-doubt.js';
import { freshMacSeed, macSeedKey } from './mac-seed.js';
import { assertMemoryLimits } from './memory-limits.js';

type VM = RecordOf<'VM'>;

export const mostVcpus = 1024;

/** The fields of VM.create's record that are taken from it; the server sets the others. */
const given = [
  'name_label',
  'name_description',
  'user_version',
  'is_a_template',
  'affinity',
  'memory_static_min',
  'memory_dynamic_min',
  'memory_dynamic_max',
  'memory_static_max',
  'memory_target',
  'VCPUs_params',
  'VCPUs_max',
  'VCPUs_at_startup',
  'actions_after_softreboot',
  'actions_after_shutdown',
  'actions_after_reboot',
  'actions_after_crash',
  'PV_bootloader',
  'PV_kernel',
  'PV_ramdisk',
  'PV_args',
  'PV_bootloader_args',
  'PV_legacy_args',
  'HVM_boot_policy',
  'HVM_boot_params',
  'HVM_shadow_multiplier',
  'platform',
  'PCI_bus',
  'other_config',
  'recommendations',
  'xenstore_data',
  'ha_always_run',
  'ha_restart_priority',
  'tags',
  'blocked_operations',
  'suspend_SR',
  'start_delay',
  'shutdown_delay',
  'order',
  'version',
  'generation_id',
  'hardware_platform_version',
  'has_vendor_device',
  'reference_label',
  'domain_type',
  'NVRAM',
] as const satisfies readonly (keyof VM)[];

/**
 * Make a halted VM's record and that of its metrics.
 * @param uuid a new one where absent
 * @throws MEMORY_CONSTRAINT_VIOLATION_ORDER, INVALID_VALUE [field, value]
 */
export function createVm({ db, checkSpec }: DomainDeps, args: Readonly<VM>, now: Date, uuid = ''): Ref<'VM'> {
  assertMemoryLimits(args);
  assertNumbers(args);
  if (!args.is_a_template) checkSpec(domainSpec({ ...args, uuid: '' }, noDevices));
  const fields = Object.fromEntries(given.map((name) => [name, args[name]])) as Partial<VM>;
  const other_config = { [macSeedKey]: freshMacSeed(), ...withoutDoubts(args.other_config) };
  const domain_type = args.domain_type === 'unspecified' ? 'hvm' : args.domain_type;
  const metrics = db.create('VM_metrics', { install_time: now, last_updated: now, state: ['halted'] });
  return db.create('VM', {
    ...fields,
    uuid,
    other_config,
    domain_type,
    metrics,
    domid: -1,
  });
}

function assertNumbers(vm: Readonly<VM>): void {
  assertRange('VCPUs_max', vm.VCPUs_max, 1, mostVcpus);
  assertRange('VCPUs_at_startup', vm.VCPUs_at_startup, 1, vm.VCPUs_max);
  assertRange('HVM_shadow_multiplier', vm.HVM_shadow_multiplier, 0, 1024);
}

/** Check that a field's value is in a range, both ends included. @throws INVALID_VALUE [field, value] */
export function assertRange(field: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw invalidValue(field, value, `${least} to ${most}`);
}
