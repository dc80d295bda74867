/** PIF.*: the interfaces of hosts. */
import { XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../model/handlers.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class PIF. */
export function pifHandlers({ db }: HandlerDeps): ClassHandlers<'PIF'> {
  return {
    async plug(_context, pif) {
      db.update('PIF', pif, { currently_attached: true });
      await db.saved();
    },
    async unplug(_context, pif) {
      const { management, disallow_unplug, network } = db.get('PIF', pif);
      if (management) throw new XapiError('PIF_IS_MANAGEMENT_INTERFACE', [pif]);
      if (disallow_unplug) throw new XapiError('PIF_DOES_NOT_ALLOW_UNPLUG', [pif]);
      const host = db.get('PIF', pif).host;
      const used = db.get('network', network).VIFs.find((vif) => {
        const { currently_attached, VM } = db.get('VIF', vif);
        return currently_attached && db.find('VM', VM)?.resident_on === host;
      });
      if (used !== undefined) throw new XapiError('VIF_IN_USE', [network, used]);
      db.update('PIF', pif, { currently_attached: false });
      await db.saved();
    },
  };
}
