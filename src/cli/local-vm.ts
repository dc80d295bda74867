/** Making a running VM through the XenAPI. */
import type { XapiSession } from './xapi-client.js';

export interface VmInit {
  readonly name: string;
  /** Bytes. */
  readonly memory: number;
  /** The reference of the host to start it on. */
  readonly host: string;
  /** Pages that its guest writes a second. */
  readonly dirtyRate?: number;
}

/** Create a VM with one interface on the pool's network, and start it. */
export async function createVm(session: XapiSession, init: VmInit): Promise<{ name: string; uuid: string }> {
  const ref = await session.call<string>('VM.create', recordOf(init));
  const [network] = await session.call<string[]>('network.get_all');
  if (network !== undefined) await session.call('VIF.create', interfaceOf(ref, network));
  await session.call('VM.start_on', ref, init.host, false, false);
  return { name: init.name, uuid: await session.call<string>('VM.get_uuid', ref) };
}

function recordOf({ name, memory, dirtyRate }: VmInit): Record<string, unknown> {
  return {
    name_label: name,
    name_description: '',
    user_version: 1,
    is_a_template: false,
    affinity: 'OpaqueRef:NULL',
    memory_static_max: memory,
    memory_dynamic_max: memory,
    memory_dynamic_min: memory,
    memory_static_min: memory,
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
    other_config: dirtyRate === undefined ? {} : { 'simulator:dirty-pages-per-second': String(dirtyRate) },
    recommendations: '',
  };
}

/** An empty MAC lets the pool choose one. */
function interfaceOf(vm: string, network: string): Record<string, unknown> {
  return {
    device: '0',
    network,
    VM: vm,
    MAC: '',
    MTU: 1500,
    other_config: {},
    qos_algorithm_type: '',
    qos_algorithm_params: {},
  };
}
