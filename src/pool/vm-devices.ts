/** What the devices of a VM have in common: they change while it is halted, and each has a number of its own. */
import type { Ref } from '../../idl/index.js';
import { XapiError } from '../base/errors.js';
import { badPowerState } from './allowed-operations.js';
import type { Database } from './database.js';

/** @throws HANDLE_INVALID, VM_BAD_POWER_STATE, OTHER_OPERATION_IN_PROGRESS */
export function assertDevicesMayChange(db: Database, ref: Ref<'VM'>): void {
  const vm = db.get('VM', ref);
  if (vm.power_state !== 'Halted') throw badPowerState(ref, vm, ['Halted']);
  const [other] = Object.entries(vm.current_operations);
  if (other !== undefined) throw new XapiError('OTHER_OPERATION_IN_PROGRESS', ['VM', ref, other[1], other[0]]);
}

const mostDevices = 256;

/**
 * The number of a new device.
 * @param asked decimal, or empty for the first that is free
 * @throws INVALID_DEVICE, DEVICE_ALREADY_EXISTS [device]
 */
export function deviceNumber(asked: string, taken: readonly string[]): string {
  if (asked === '') {
    const free = [...Array(mostDevices).keys()].map(String).find((number) => !taken.includes(number));
    if (free === undefined) throw new XapiError('INVALID_DEVICE', [`(all ${mostDevices} devices are taken)`]);
    return free;
  }
  if (!/^(0|[1-9]\d{0,2})$/.test(asked) || Number(asked) >= mostDevices) throw new XapiError('INVALID_DEVICE', [asked]);
  if (taken.includes(asked)) throw new XapiError('DEVICE_ALREADY_EXISTS', [asked]);
  return asked;
}
