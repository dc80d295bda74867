/** The record from which `VM.create` makes a VM. */

export interface VmRecordInit {
  readonly name: string;
  readonly description?: string;
  /** Bytes: the static and dynamic maximum. */
  readonly memory: number;
  /** Bytes: the static and dynamic minimum; the maximum unless given. */
  readonly leastMemory?: number;
  readonly otherConfig?: Readonly<Record<string, string>>;
}

/** A halted VM with one virtual CPU and no devices. */
export function vmRecord(init: VmRecordInit): Record<string, unknown> {
  const least = init.leastMemory ?? init.memory;
  return {
    name_label: init.name,
    name_description: init.description ?? '',
    user_version: 1,
    is_a_template: false,
    affinity: 'OpaqueRef:NULL',
    memory_static_max: init.memory,
    memory_dynamic_max: init.memory,
    memory_target: init.memory,
    memory_dynamic_min: least,
    memory_static_min: least,
    VCPUs_params: {},
    VCPUs_max: 1,
    VCPUs_at_startup: 1,
    actions_after_shutdown: 'destroy',
    actions_after_reboot: 'restart',
    actions_after_crash: 'destroy',
    PV_bootloader: '',
    PV_kernel: '',
    PV_ramdisk: '',
    PV_args: '',
    PV_bootloader_args: '',
    PV_legacy_args: '',
    HVM_boot_policy: 'BIOS order',
    HVM_boot_params: {},
    platform: {},
    PCI_bus: '',
    other_config: init.otherConfig ?? {},
    recommendations: '',
  };
}
