/** SR.*: storage repositories. */
import { XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../model/handlers.js';
import { createSr, destroySr, forgetSr, introduceSr, probeSrs, scanSr, updateSr } from '../storage/srs.js';
import { fileType } from '../storage/storage-allowed-operations.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class SR. */
export function srHandlers(deps: HandlerDeps): ClassHandlers<'SR'> {
  const { db } = deps;
  return {
    create: (
      _context,
      host,
      deviceConfig,
      physicalSize,
      name_label,
      name_description,
      type,
      content_type,
      shared,
      sm_config,
    ) =>
      createSr(deps, {
        host,
        deviceConfig,
        physicalSize,
        type,
        shared,
        given: { name_label, name_description, content_type, sm_config },
      }),
    introduce: (_context, uuid, name_label, name_description, type, content_type, shared, sm_config) =>
      introduceSr(deps, { uuid, name_label, name_description, type, content_type, shared, sm_config }),
    destroy: ({ task }, sr) => destroySr(deps, task.ref, sr),
    forget: ({ task }, sr) => forgetSr(deps, task.ref, sr),
    update: ({ task }, sr) => updateSr(deps, task.ref, sr),
    get_supported_types: () => [fileType],
    scan: ({ task }, sr) => scanSr(deps, task.ref, sr),
    probe: (_context, host, deviceConfig, type) => probeSrs(deps, host, type, deviceConfig),
    async set_shared(_context, sr, value) {
      const [pbd] = db.get('SR', sr).PBDs;
      if (value) throw new XapiError('SR_NOT_SHARABLE', [sr, pbd === undefined ? '' : db.get('PBD', pbd).host]);
      db.update('SR', sr, { shared: false });
      await db.saved();
    },
  };
}
