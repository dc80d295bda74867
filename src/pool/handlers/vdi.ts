/** VDI.*: virtual disks. */
import { XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../model/handlers.js';
import { nullRef } from '../../model/value.js';
import {
  cloneVdi,
  copyVdi,
  createVdi,
  destroyVdi,
  forgetVdi,
  introduceVdi,
  resizeVdi,
  snapshotVdi,
  updateVdi,
} from '../storage/vdis.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class VDI. */
export function vdiHandlers(deps: HandlerDeps): ClassHandlers<'VDI'> {
  return {
    create: ({ task }, args) => createVdi(deps, task, args),
    destroy: ({ task }, vdi) => destroyVdi(deps, task.ref, vdi),
    resize: ({ task }, vdi, size) => resizeVdi(deps, task.ref, vdi, size),
    clone: ({ task }, vdi) => cloneVdi(deps, task, vdi),
    snapshot: ({ task }, vdi) => snapshotVdi(deps, task, vdi),
    async copy({ task }, vdi, sr, baseVdi, intoVdi) {
      if (baseVdi !== nullRef || intoVdi !== nullRef) {
        throw new XapiError('NOT_IMPLEMENTED', ['VDI.copy'], 'not with base_vdi or into_vdi');
      }
      return copyVdi(deps, task, vdi, sr === nullRef ? deps.db.get('VDI', vdi).SR : sr);
    },
    introduce: ({ task }, ...params) => {
      const [uuid, name_label, name_description, SR, type, sharable, read_only, other_config, location] = params;
      const [, , , , , , , , , xenstore_data, sm_config] = params;
      const names = { uuid, name_label, name_description, SR, type, sharable, read_only };
      return introduceVdi(deps, task.ref, { ...names, other_config, location, xenstore_data, sm_config });
    },
    forget: ({ task }, vdi) => forgetVdi(deps, task.ref, vdi),
    update: ({ task }, vdi) => updateVdi(deps, task.ref, vdi),
  };
}
