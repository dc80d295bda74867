/** Templates: VMs that are there to be cloned. */
import type { Ref } from '../../idl/index.js';
import { XapiError } from '../base/errors.js';
import { assertAllowed, defaultTemplateKey } from './allowed-operations.js';
import type { Database } from './database.js';
import { freshMacSeed, macSeedKey } from './mac-seed.js';

const mebibyte = 2 ** 20;
const templateMemory = 64 * mebibyte;

/** The template that a pool has from its first start; made anew where there is none that is default. */
export function provideDefaultTemplate(db: Database, now: Date): void {
  if (db.all('VM').some(([, vm]) => vm.is_default_template)) return;
  db.create('VM', {
    name_label: 'Other install media',
    name_description: 'For a VM that is installed by hand: clone it, provision the clone, start it',
    is_a_template: true,
    is_default_template: true,
    user_version: 1,
    memory_static_min: templateMemory / 4,
    memory_dynamic_min: templateMemory,
    memory_dynamic_max: templateMemory,
    memory_static_max: templateMemory,
    memory_target: templateMemory,
    VCPUs_max: 1,
    VCPUs_at_startup: 1,
    actions_after_shutdown: 'destroy',
    actions_after_reboot: 'restart',
    actions_after_crash: 'restart',
    HVM_boot_policy: 'BIOS order',
    HVM_boot_params: { order: 'dc' },
    platform: { acpi: '1', apic: 'true', nx: 'true', pae: 'true', viridian: 'true' },
    other_config: { [defaultTemplateKey]: 'true', 'install-methods': 'cdrom', [macSeedKey]: freshMacSeed() },
    recommendations:
      '<restrictions><restriction field="memory-static-max" max="1649267441664"/>' +
      '<restriction field="vcpus-max" max="64"/><restriction property="number-of-vbds" max="255"/>' +
      '<restriction property="number-of-vifs" max="16"/></restrictions>',
    domid: -1,
    domain_type: 'hvm',
    reference_label: 'other-install-media',
    metrics: db.create('VM_metrics', { last_updated: now, state: ['halted'] }),
  });
}

/**
 * Make a VM a template, or a template a VM.
 * @throws HANDLE_INVALID, what allowed-operations says of `make_into_template`, OTHER_OPERATION_IN_PROGRESS
 */
export function setIsATemplate(db: Database, ref: Ref<'VM'>, value: boolean, now: Date): void {
  const { is_a_template, current_operations } = db.get('VM', ref);
  if (value === is_a_template) return;
  if (value) {
    assertAllowed(db, ref, 'make_into_template');
    db.update('VM', ref, { is_a_template: true });
    return;
  }
  const [other] = Object.entries(current_operations);
  if (other !== undefined) throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', ref, other[1], other[0]]);
  becomeVm(db, ref, now);
}

/** A template becomes a VM, which counts as installed then. The caller holds it. */
export function becomeVm(db: Database, ref: Ref<'VM'>, now: Date): void {
  db.removeFromMap('VM', ref, 'other_config', defaultTemplateKey);
  db.update('VM', ref, { is_a_template: false, is_default_template: false });
  const { metrics } = db.get('VM', ref);
  if (db.find('VM_metrics', metrics) !== undefined) db.update('VM_metrics', metrics, { install_time: now });
}
