/** Which operations a VIF and a VBD allow now, and the hold that a running one has on them. What clients know of them is xapi's. */
import type { Ref, TypeOf } from '../../../idl/index.js';
import { reason, type XapiError } from '../../base/errors.js';
import type { Database, RecordView } from '../database/database.js';
import { hold } from '../database/hold.js';
import { isSimulated } from './guest-kind.js';

export type VifOperation = TypeOf<'enum:vif_operations'>;
export type VbdOperation = Exclude<TypeOf<'enum:vbd_operations'>, 'pause' | 'unpause'>;

const vifOperations = ['attach', 'plug', 'unplug'] as const satisfies VifOperation[];
const vbdOperations = ['attach', 'eject', 'insert', 'plug', 'unplug', 'unplug_force'] as const satisfies VbdOperation[];

/** Of a guest of QEMU. */
const keepsDevices = 'a VM has the devices and the media with which it has started, until it starts anew';

type Device = RecordView<'VIF'> | RecordView<'VBD'>;

/**
 * Why an operation on a VIF is refused now; undefined where it is accepted.
 * @returns OTHER_OPERATION_IN_PROGRESS [class, object, operation, task], DEVICE_ALREADY_ATTACHED, DEVICE_ALREADY_DETACHED [vif],
 *   VM_BAD_POWER_STATE [vm, expected, actual]
 */
function vifRefusal(
  db: Database,
  ref: Ref<'VIF'>,
  vif: RecordView<'VIF'>,
  operation: VifOperation,
): XapiError | undefined {
  const busy = busyDevice('VIF', ref, vif);
  if (busy !== undefined) return busy;
  return operation === 'attach' ? undefined : plugRefusal(db, ref, vif, operation === 'plug');
}

/**
 * Why an operation on a VBD is refused now; undefined where it is accepted.
 * @returns as for a VIF, and VBD_NOT_UNPLUGGABLE, VBD_NOT_REMOVABLE_MEDIA, VBD_IS_EMPTY, VBD_NOT_EMPTY [vbd],
 *   OPERATION_NOT_ALLOWED, and what stands in the way of its VDI: VDI_NOT_MANAGED, VDI_READONLY [vdi], VDI_IN_USE [vdi, operation]
 */
export function vbdRefusal(
  db: Database,
  ref: Ref<'VBD'>,
  vbd: RecordView<'VBD'>,
  operation: VbdOperation,
): XapiError | undefined {
  const busy = busyDevice('VBD', ref, vbd);
  if (busy !== undefined) return busy;
  switch (operation) {
    case 'attach':
      return diskRefusal(db, ref, vbd, operation);
    case 'insert':
    case 'eject':
      return mediumRefusal(db, ref, vbd, operation);
    case 'plug':
    case 'unplug':
    case 'unplug_force': {
      const plug = operation === 'plug';
      if (!plug && !vbd.unpluggable) return reason('VBD_NOT_UNPLUGGABLE', [ref]);
      const refused = plugRefusal(db, ref, vbd, plug);
      if (refused !== undefined) return refused;
      if (vbd.type === 'CD') {
        return reason('OPERATION_NOT_ALLOWED', ['a CD drive stays; its medium is inserted and ejected']);
      }
      return plug ? diskRefusal(db, ref, vbd, operation) : undefined;
    }
  }
}

function busyDevice(cls: 'VIF' | 'VBD', ref: Ref, device: Device): XapiError | undefined {
  const [running] = Object.entries(device.current_operations);
  return running && reason('OTHER_OPERATION_IN_PROGRESS', [cls, ref, running[1], running[0]]);
}

function busyVm(db: Database, { VM }: Device): XapiError | undefined {
  const [running] = Object.entries(db.find('VM', VM)?.current_operations ?? {});
  return running && reason('OTHER_OPERATION_IN_PROGRESS', ['VM', VM, running[1], running[0]]);
}

function plugRefusal(db: Database, ref: Ref, device: Device, plug: boolean): XapiError | undefined {
  const vm = db.find('VM', device.VM);
  const state = vm?.power_state.toLowerCase() ?? 'halted';
  if (state !== 'running') return reason('VM_BAD_POWER_STATE', [device.VM, 'running', state]);
  if (vm?.is_control_domain) return reason('OPERATION_NOT_ALLOWED', ['a control domain takes no devices']);
  if (!isSimulated(db, device.VM)) return reason('OPERATION_NOT_ALLOWED', [keepsDevices]);
  if (device.currently_attached === plug) {
    return reason(plug ? 'DEVICE_ALREADY_ATTACHED' : 'DEVICE_ALREADY_DETACHED', [ref]);
  }
  return busyVm(db, device);
}

function mediumRefusal(
  db: Database,
  ref: Ref<'VBD'>,
  vbd: RecordView<'VBD'>,
  operation: 'insert' | 'eject',
): XapiError | undefined {
  if (vbd.type !== 'CD') return reason('VBD_NOT_REMOVABLE_MEDIA', [ref]);
  if (operation === 'eject' && vbd.empty) return reason('VBD_IS_EMPTY', [ref]);
  if (operation === 'insert' && !vbd.empty) return reason('VBD_NOT_EMPTY', [ref]);
  if (db.find('VM', vbd.VM)?.power_state === 'Suspended') {
    return reason('VM_BAD_POWER_STATE', [vbd.VM, 'halted, running', 'suspended']);
  }
  if (db.find('VM', vbd.VM)?.power_state !== 'Halted' && !isSimulated(db, vbd.VM))
    return reason('OPERATION_NOT_ALLOWED', [keepsDevices]);
  return busyVm(db, vbd);
}

/** Whether a VBD that is not attached could be: a disk is of one VM that writes, or of those that only read. */
function diskRefusal(
  db: Database,
  ref: Ref<'VBD'>,
  vbd: RecordView<'VBD'>,
  operation: VbdOperation,
): XapiError | undefined {
  const vdi = db.find('VDI', vbd.VDI);
  if (vbd.empty || vbd.currently_attached || vdi === undefined) return undefined;
  if (!vdi.managed) return reason('VDI_NOT_MANAGED', [vbd.VDI]);
  const busy = Object.entries(vdi.current_operations).find(([, running]) => running !== 'copy' && running !== 'mirror');
  if (busy !== undefined) return reason('OTHER_OPERATION_IN_PROGRESS', ['VDI', vbd.VDI, busy[1], busy[0]]);
  const writes = vbd.mode === 'RW';
  if (writes && vdi.read_only) return reason('VDI_READONLY', [vbd.VDI]);
  if (vdi.sharable || (vbd.type === 'CD' && !writes)) return undefined;
  const others = vdi.VBDs.filter((other) => other !== ref).map((other) => db.get('VBD', other));
  const users = others.filter(isInUse);
  const used = users.some(({ mode }) => writes || mode === 'RW');
  return used ? reason('VDI_IN_USE', [vbd.VDI, operation]) : undefined;
}

/** A suspended VM holds its disks: it goes on with them. */
function isInUse({ currently_attached, current_operations }: RecordView<'VBD'>): boolean {
  return currently_attached || Object.keys(current_operations).length > 0;
}

/** Compute allowed_operations anew; fine where the VIF is gone. */
export function updateVifOperations(db: Database, ref: Ref<'VIF'>): void {
  const vif = db.find('VIF', ref);
  if (vif === undefined) return;
  const allowed = vifOperations.filter((operation) => vifRefusal(db, ref, vif, operation) === undefined);
  db.update('VIF', ref, { allowed_operations: allowed });
}

/** Compute allowed_operations anew; fine where the VBD is gone. */
export function updateVbdOperations(db: Database, ref: Ref<'VBD'>): void {
  const vbd = db.find('VBD', ref);
  if (vbd === undefined) return;
  const allowed = vbdOperations.filter((operation) => vbdRefusal(db, ref, vbd, operation) === undefined);
  db.update('VBD', ref, { allowed_operations: allowed });
}

/** Run an operation on a VIF, shown in its current_operations under the task. @throws HANDLE_INVALID, what `vifRefusal` says */
export async function withVif<T>(
  db: Database,
  ref: Ref<'VIF'>,
  operation: VifOperation,
  task: string,
  run: () => Promise<T>,
): Promise<T> {
  const refused = vifRefusal(db, ref, db.get('VIF', ref), operation);
  if (refused !== undefined) throw refused;
  return hold(db, { cls: 'VIF', ref }, operation, task, run);
}

/** Run an operation on a VBD, shown in its current_operations under the task. @throws HANDLE_INVALID, what `vbdRefusal` says */
export async function withVbd<T>(
  db: Database,
  ref: Ref<'VBD'>,
  operation: VbdOperation,
  task: string,
  run: () => Promise<T>,
): Promise<T> {
  const refused = vbdRefusal(db, ref, db.get('VBD', ref), operation);
  if (refused !== undefined) throw refused;
  return hold(db, { cls: 'VBD', ref }, operation, task, run);
}
