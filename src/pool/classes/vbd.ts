/** VBD.*: disk images, and empty drives, of halted VMs. */
import { XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../base/handlers.js';
import { nullRef } from '../../base/value.js';
import type { HandlerDeps } from '../handler-deps.js';
import { assertDevicesMayChange, deviceNumber } from '../vm-devices.js';

export function vbdHandlers({ db }: HandlerDeps): ClassHandlers<'VBD'> {
  return {
    async create(_context, args) {
      assertDevicesMayChange(db, args.VM);
      if (!args.empty) db.get('VDI', args.VDI);
      else if (args.type === 'Disk') {
        throw new XapiError('INVALID_VALUE', ['empty', 'true for a VBD of type Disk (allowed: CD, Floppy)']);
      }
      const taken = db.get('VM', args.VM).VBDs.map((vbd) => db.get('VBD', vbd).userdevice);
      const ref = db.create('VBD', {
        VM: args.VM,
        VDI: args.empty ? nullRef : args.VDI,
        empty: args.empty,
        userdevice: deviceNumber(args.userdevice === 'autodetect' ? '' : args.userdevice, taken),
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
      assertDevicesMayChange(db, db.get('VBD', ref).VM);
      db.destroy('VBD', ref);
      await db.saved();
    },
  };
}
