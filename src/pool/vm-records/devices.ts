/** What the devices of a VM have in common: when they may change, and that each has a number of its own. */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { Database } from '../database/database.js';
import { badPowerState } from './vm-allowed-operations.js';

/** For devices that no running VM takes or gives back. @throws HANDLE_INVALID, VM_BAD_POWER_STATE, what `assertDevicesFree` says */
export function assertDevicesMayChange(db: Database, ref: Ref<'VM'>): void {
  const vm = db.get('VM', ref);
  if (vm.power_state !== 'Halted') throw badPowerState(ref, vm, ['Halted']);
  assertDevicesFree(db, ref);
}

/** @throws HANDLE_INVALID, OPERATION_NOT_ALLOWED for a control domain, OTHER_OPERATION_IN_PROGRESS */
export function assertDevicesFree(db: Database, ref: Ref<'VM'>): void {
  const vm = db.get('VM', ref);
  if (vm.is_control_domain) throw new XapiError('OPERATION_NOT_ALLOWED', ['a control domain takes no devices']);
  const [other] = Object.entries(vm.current_operations);
  if (other !== undefined) throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', ref, other[1], other[0]]);
}

/**
 * A device may go while its VM does not have it.
 * @throws OPERATION_NOT_ALLOWED, what `assertDevicesFree` says
 */
export function assertMayRemove(
  db: Database,
  cls: 'VIF' | 'VBD',
  device: { readonly VM: Ref<'VM'>; readonly currently_attached: boolean },
): void {
  assertDevicesFree(db, device.VM);
  const { power_state } = db.get('VM', device.VM);
  if (!device.currently_attached || power_state === 'Halted' || power_state === 'Suspended') return;
  throw new XapiError('OPERATION_NOT_ALLOWED', [`the ${cls} is attached to a VM that is ${power_state.toLowerCase()}`]);
}

const mostDevices = 256;

/**
 * The number of a new device.
 * @param asked decimal, or empty for the first that is free
 * @throws INVALID_DEVICE, DEVICE_ALREADY_EXISTS [device]
 */
export function deviceNumber(asked: string, taken: readonly string[]): string {
  if (asked === '') {
    const [free] = freeDevices(mostDevices, taken);
    if (free === undefined) throw new XapiError('INVALID_DEVICE', [asked], `all ${mostDevices} devices are taken`);
    return free;
  }
  if (!/^(0|[1-9]\d{0,2})$/.test(asked) || Number(asked) >= mostDevices) throw new XapiError('INVALID_DEVICE', [asked]);
  if (taken.includes(asked)) throw new XapiError('DEVICE_ALREADY_EXISTS', [asked]);
  return asked;
}

/** The numbers that are free among the first `count` devices. */
export function freeDevices(count: number, taken: readonly string[]): string[] {
  return [...Array(count).keys()].map(String).filter((number) => !taken.includes(number));
}
