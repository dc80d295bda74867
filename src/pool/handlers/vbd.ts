/** VBD.*: disks, and CD drives with and without a CD. A VM has those that are there when it starts, and those that are plugged. */
import type { Ref } from '../../../idl/index.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import type { CallContext, ClassHandlers } from '../../model/handlers.js';
import { nullRef } from '../../model/value.js';
import { assertReachesDisk } from '../hosts/placement.js';
import { blockDevice } from '../vm-records/block-devices.js';
import { vbdRefusal, withVbd } from '../vm-records/device-allowed-operations.js';
import { assertDevicesFree, assertDevicesMayChange, assertMayRemove } from '../vm-records/devices.js';
import { attachVbd, detachVbd } from '../vm-records/lifecycle.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class VBD. */
export function vbdHandlers({ db }: HandlerDeps): ClassHandlers<'VBD'> {
  const unplug =
    (operation: 'unplug' | 'unplug_force') =>
    async ({ task }: CallContext, vbd: Ref<'VBD'>): Promise<void> => {
      await withVbd(db, vbd, operation, task.ref, async () => detachVbd(db, vbd));
      await db.saved();
    };
  const assertAttachable = (vbd: Ref<'VBD'>): void => {
    const refused = vbdRefusal(db, vbd, db.get('VBD', vbd), 'attach');
    if (refused !== undefined) throw refused;
  };
  return {
    async create(_context, args) {
      assertDevicesFree(db, args.VM);
      if (args.type === 'CD' && args.mode !== 'RO') throw new XapiError('VBD_CDS_MUST_BE_READONLY');
      if (args.type !== 'CD' && args.empty) {
        throw invalidValue('empty', true, `for a VBD of type ${args.type}: false`);
      }
      if (!args.empty && db.get('VDI', args.VDI).read_only && args.mode === 'RW') {
        throw new XapiError('VDI_READONLY', [args.VDI]);
      }
      const taken = db.get('VM', args.VM).VBDs.map((vbd) => db.get('VBD', vbd).userdevice);
      const ref = db.create('VBD', {
        VM: args.VM,
        VDI: args.empty ? nullRef : args.VDI,
        empty: args.empty,
        userdevice: blockDevice(args.userdevice, taken),
        bootable: args.bootable,
        mode: args.mode,
        type: args.type,
        unpluggable: args.unpluggable,
        other_config: args.other_config,
        qos_algorithm_type: args.qos_algorithm_type,
        qos_algorithm_params: args.qos_algorithm_params,
      });
      await db.saved();
      return ref;
    },
    async destroy(_context, ref) {
      assertMayRemove(db, 'VBD', db.get('VBD', ref));
      db.destroy('VBD', ref);
      await db.saved();
    },
    async plug({ task }, ref) {
      await withVbd(db, ref, 'plug', task.ref, async () => {
        assertReachesDisk(db, db.get('VM', db.get('VBD', ref).VM).resident_on, ref);
        attachVbd(db, ref);
      });
      await db.saved();
    },
    unplug: unplug('unplug'),
    unplug_force: unplug('unplug_force'),
    async insert({ task }, ref, VDI) {
      db.get('VDI', VDI);
      await withVbd(db, ref, 'insert', task.ref, async () => db.update('VBD', ref, { VDI, empty: false }));
      await db.saved();
    },
    async eject({ task }, ref) {
      await withVbd(db, ref, 'eject', task.ref, async () => db.update('VBD', ref, { VDI: nullRef, empty: true }));
      await db.saved();
    },
    assert_attachable: (_context, ref) => assertAttachable(ref),
    async set_mode(_context, ref, mode) {
      const { VM, type } = db.get('VBD', ref);
      assertDevicesMayChange(db, VM);
      if (type === 'CD' && mode !== 'RO') throw new XapiError('VBD_CDS_MUST_BE_READONLY');
      db.update('VBD', ref, { mode });
      await db.saved();
    },
  };
}
