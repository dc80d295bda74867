/** Making a running VM through the XenAPI. */
import { defined } from '../../base/defined.js';
import { vmRecord } from '../client/vm-record.js';
import type { XapiSession } from '../client/xapi-client.js';

export interface VmInit {
  readonly name: string;
  /** Bytes. */
  readonly memory: number;
  /** The reference of the host to start it on. */
  readonly host: string;
  /** Pages that its guest writes a second. */
  readonly dirtyRate?: number;
  /** Further fields of its record. */
  readonly record?: Readonly<Record<string, unknown>>;
}

/** Create a VM with one interface on the pool's network, and start it. */
export async function createVm(session: XapiSession, init: VmInit): Promise<{ name: string; uuid: string }> {
  const { name, memory, dirtyRate } = init;
  const otherConfig = defined({ 'simulator:dirty-pages-per-second': dirtyRate?.toString() });
  const ref = await session.call<string>('VM.create', {
    ...vmRecord({ name, memory, otherConfig }),
    ...init.record,
  });
  const [network] = await session.call<string[]>('network.get_all');
  if (network !== undefined) await session.call('VIF.create', interfaceOf(ref, network));
  await session.call('VM.start_on', ref, init.host, false, false);
  return { name: init.name, uuid: await session.call<string>('VM.get_uuid', ref) };
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
