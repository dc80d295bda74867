/** VGPU.*: virtual GPUs of halted VMs. There are no GPU groups; the null reference stands for the only kind. */

import { XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../model/handlers.js';
import { nullRef } from '../../model/value.js';
import { assertDevicesMayChange, deviceNumber } from '../vm-records/devices.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class VGPU. */
export function vgpuHandlers({ db }: HandlerDeps): ClassHandlers<'VGPU'> {
  return {
    async create(_context, VM, GPU_group, device, other_config, type) {
      assertDevicesMayChange(db, VM);
      if (GPU_group !== nullRef) throw new XapiError('HANDLE_INVALID', ['GPU_group', GPU_group]);
      if (type !== nullRef) throw new XapiError('HANDLE_INVALID', ['VGPU_type', type]);
      const taken = db.get('VM', VM).VGPUs.map((vgpu) => db.get('VGPU', vgpu).device);
      const ref = db.create('VGPU', { VM, GPU_group, type, other_config, device: deviceNumber(device, taken) });
      await db.saved();
      return ref;
    },
    async destroy(_context, ref) {
      assertDevicesMayChange(db, db.get('VGPU', ref).VM);
      db.destroy('VGPU', ref);
      await db.saved();
    },
  };
}
