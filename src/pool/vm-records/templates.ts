/** Templates: VMs that are there to be cloned. */
import type { Ref } from '../../../idl/index.js';
import { defined } from '../../base/defined.js';
import { XapiError } from '../../base/errors.js';
import type { Database } from '../database/database.js';
import { freshMacSeed, macSeedKey } from './mac-seed.js';
import { assertAllowed, defaultTemplateKey } from './vm-allowed-operations.js';

const mebibyte = 2 ** 20;
const gibibyte = 2 ** 30;

/** The key of the pool's other_config with the reference labels, by commas, of the default templates that it was given. */
const givenKey = 'xenferry:templates';

const plainLabel = 'other-install-media';

/** What is special of a default template. Sizes are in bytes. */
interface TemplateInit {
  readonly reference_label: string;
  readonly name_label: string;
  readonly name_description: string;
  readonly memory: number;
  readonly leastMemory: number;
  readonly vcpus: number;
  readonly installMethods: string;
  /** The disk that is made for a VM that is installed from it; none where absent. */
  readonly disk?: number;
  readonly HVM_boot_params: Record<string, string>;
  readonly platform: Record<string, string>;
  /** What a VM made from it may have, beside what any may. */
  readonly restrictions?: string;
}

const templates: readonly TemplateInit[] = [
  {
    reference_label: plainLabel,
    name_label: 'Other install media',
    name_description: 'For a VM that is installed by hand: clone it, provision the clone, start it',
    memory: 64 * mebibyte,
    leastMemory: 16 * mebibyte,
    vcpus: 1,
    installMethods: 'cdrom',
    HVM_boot_params: { order: 'dc' },
    platform: { viridian: 'true' },
  },
  {
    reference_label: 'debian-12',
    name_label: 'Debian Bookworm 12',
    name_description:
      'For a VM with Debian 12 or a system like it: one disk of 10 GiB, installed from a CD or over the network',
    memory: gibibyte,
    leastMemory: 512 * mebibyte,
    vcpus: 1,
    installMethods: 'cdrom,nfs,http,ftp',
    disk: 10 * gibibyte,
    HVM_boot_params: { order: 'cdn', firmware: 'bios' },
    platform: { viridian: 'false' },
  },
  {
    reference_label: 'windows-server-2022-64bit',
    name_label: 'Windows Server 2022 (64-bit)',
    name_description:
      'For a VM with Windows Server 2022 or a system like it: one disk of 32 GiB, UEFI, installed from a CD',
    memory: 4 * gibibyte,
    leastMemory: 2 * gibibyte,
    vcpus: 2,
    installMethods: 'cdrom',
    disk: 32 * gibibyte,
    HVM_boot_params: { order: 'dcn', firmware: 'uefi' },
    platform: {
      viridian: 'true',
      hpet: 'true',
      'cores-per-socket': '2',
      secureboot: 'auto',
      vga: 'std',
      videoram: '8',
    },
    restrictions: '<restriction field="has-vendor-device" value="true"/>',
  },
];

/**
 * The default templates that a pool has from its first start; one that an older version began gets those that came since. What an
 * operator has taken away stays away, as long as there is another default one.
 * @param isNew whether the pool has just begun
 */
export function provideDefaultTemplates(db: Database, pool: Ref<'pool'>, isNew: boolean, now: Date): void {
  const labels = db.all('VM').flatMap(([, vm]) => (vm.is_default_template ? [vm.reference_label] : []));
  // Pools of before there was more than one have the first.
  const given = (db.get('pool', pool).other_config[givenKey] ?? (isNew ? '' : plainLabel)).split(',');
  for (const template of templates) {
    const { reference_label: label } = template;
    if (labels.includes(label) || (labels.length > 0 && given.includes(label))) continue;
    createTemplate(db, template, now);
  }
  db.putInMap('pool', pool, 'other_config', givenKey, templates.map(({ reference_label }) => reference_label).join());
}

function createTemplate(db: Database, template: TemplateInit, now: Date): void {
  const { memory, leastMemory, vcpus, installMethods, disk, restrictions = '', platform, ...rest } = template;
  db.create('VM', {
    ...rest,
    is_a_template: true,
    is_default_template: true,
    user_version: 1,
    memory_static_min: leastMemory,
    memory_dynamic_min: memory,
    memory_dynamic_max: memory,
    memory_static_max: memory,
    memory_target: memory,
    VCPUs_max: vcpus,
    VCPUs_at_startup: vcpus,
    actions_after_shutdown: 'destroy',
    actions_after_reboot: 'restart',
    actions_after_crash: 'restart',
    HVM_boot_policy: 'BIOS order',
    platform: { acpi: '1', apic: 'true', nx: 'true', pae: 'true', ...platform },
    other_config: {
      [defaultTemplateKey]: 'true',
      'install-methods': installMethods,
      ...defined({ disks: disk === undefined ? undefined : disksOf(disk) }),
      [macSeedKey]: freshMacSeed(),
    },
    recommendations:
      '<restrictions><restriction field="memory-static-max" max="1649267441664"/>' +
      `<restriction field="vcpus-max" max="64"/>${restrictions}<restriction property="number-of-vbds" max="255"/>` +
      '<restriction property="number-of-vifs" max="16"/></restrictions>',
    domid: -1,
    domain_type: 'hvm',
    metrics: db.create('VM_metrics', { last_updated: now, state: ['halted'] }),
  });
}

/**
 * The order for one disk, as provisioning reads it.
 * @param bytes the disk's size
 */
function disksOf(bytes: number): string {
  return `<provision><disk device="0" size="${bytes}" sr="" bootable="true" type="system"/></provision>`;
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

/** Make a template, which the caller holds, a VM, which counts as installed then. */
export function becomeVm(db: Database, ref: Ref<'VM'>, now: Date): void {
  db.removeFromMap('VM', ref, 'other_config', defaultTemplateKey);
  db.update('VM', ref, { is_a_template: false, is_default_template: false });
  const { metrics } = db.get('VM', ref);
  if (db.find('VM_metrics', metrics) !== undefined) db.update('VM_metrics', metrics, { install_time: now });
}
