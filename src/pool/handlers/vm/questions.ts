/** VM.*: what a client asks before it does something. */
import type { Ref } from '../../../../idl/index.js';
import { XapiError } from '../../../base/errors.js';
import type { ClassHandlers } from '../../../model/handlers.js';
import { assertCanTake, assertReachesDevices, possibleHosts } from '../../hosts/placement.js';
import { assertImageOn, imageHost } from '../../hosts/suspend-image.js';
import { freeBlockDevices } from '../../vm-records/block-devices.js';
import { freeDevices } from '../../vm-records/devices.js';
import { assertAllowed, updateAllowedOperations } from '../../vm-records/vm-allowed-operations.js';
import type { HandlerDeps } from '../deps.js';

type Question =
  | 'assert_operation_valid'
  | 'update_allowed_operations'
  | 'assert_can_boot_here'
  | 'assert_agile'
  | 'get_possible_hosts'
  | 'get_allowed_VIF_devices'
  | 'get_allowed_VBD_devices'
  | 'get_boot_record'
  | 'get_data_sources'
  | 'query_services'
  | 'retrieve_wlb_recommendations';

/** What a guest of the HVM kind can have. */
const vifDevices = 16;
const vbdDevices = 255;

/** The handlers of messages that ask about a VM and change nothing. */
export function vmQuestionHandlers(deps: HandlerDeps): Pick<ClassHandlers<'VM'>, Question> {
  const { db } = deps;
  const isSuspended = (vm: Ref<'VM'>): boolean => db.get('VM', vm).power_state === 'Suspended';
  return {
    assert_operation_valid: (_context, vm, operation) => assertAllowed(db, vm, operation),
    update_allowed_operations: (_context, vm) => updateAllowedOperations(db, vm),
    async assert_can_boot_here(_context, vm, host) {
      if (isSuspended(vm)) await assertImageOn(deps, vm, host);
      await assertCanTake(deps, host, vm);
    },
    assert_agile: (_context, vm) => assertAgile(deps, vm),
    async get_possible_hosts(_context, vm) {
      const able = await possibleHosts(deps, vm);
      if (!isSuspended(vm)) return able;
      const there = await imageHost(deps, vm).catch(() => undefined);
      return able.filter((host) => host === there);
    },
    get_allowed_VIF_devices(_context, vm) {
      const taken = db.get('VM', vm).VIFs.map((vif) => db.get('VIF', vif).device);
      return freeDevices(vifDevices, taken);
    },
    get_allowed_VBD_devices(_context, vm) {
      const taken = db.get('VM', vm).VBDs.map((vbd) => db.get('VBD', vbd).userdevice);
      return freeBlockDevices(vbdDevices, taken);
    },
    get_boot_record: (_context, vm) => ({ ...db.get('VM', vm) }),
    // There is nothing that measures a guest, offers services in it or weighs hosts.
    get_data_sources: (_context, vm) => none(db.get('VM', vm), []),
    query_services: (_context, vm) => none(db.get('VM', vm), {}),
    retrieve_wlb_recommendations: (_context, vm) => none(db.get('VM', vm), {}),
  };
}

/** An empty answer about a VM that exists. */
function none<T>(_vm: unknown, empty: T): T {
  return empty;
}

/** Whether every host of the pool could run the VM. @throws HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED [sr], ..._NETWORK_NOT_SHARED [network] */
function assertAgile(deps: HandlerDeps, vm: Ref<'VM'>): void {
  const { db } = deps;
  for (const vbd of db.get('VM', vm).VBDs) {
    const vdi = db.find('VDI', db.get('VBD', vbd).VDI);
    if (vdi !== undefined && !db.get('SR', vdi.SR).shared) {
      throw new XapiError('HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED', [vdi.SR]);
    }
  }
  for (const [host] of db.all('host')) {
    try {
      assertReachesDevices(db, host, vm);
    } catch (error) {
      if (!(error instanceof XapiError) || error.code !== 'VM_REQUIRES_NETWORK') throw error;
      throw new XapiError('HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED', [error.params[1] ?? '']);
    }
  }
}
