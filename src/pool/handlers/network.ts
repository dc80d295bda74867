/** network.*: networks that VIFs and hosts' interfaces connect to. */
import { invalidValue, XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../model/handlers.js';
import type { HandlerDeps } from './deps.js';

/** Linux names interfaces with so many characters. */
const longestBridge = 15;

/** The handlers of the class network. */
export function networkHandlers({ db }: HandlerDeps): ClassHandlers<'network'> {
  return {
    async create(_context, { name_label, name_description, MTU, other_config, bridge, managed, tags }) {
      const taken = db.all('network').map(([, network]) => network.bridge);
      if (bridge.length > longestBridge) {
        throw invalidValue('bridge', bridge, `at most ${longestBridge} characters`);
      }
      if (managed && taken.includes(bridge)) throw new XapiError('BRIDGE_NAME_EXISTS', [bridge]);
      const name = bridge === '' ? freeBridge(taken) : bridge;
      const given = { name_label, name_description, MTU, other_config, bridge: name, managed, tags };
      const ref = db.create('network', given);
      await db.saved();
      return ref;
    },
    async destroy(_context, ref) {
      const { VIFs, PIFs } = db.get('network', ref);
      if (VIFs.length > 0) throw new XapiError('NETWORK_CONTAINS_VIF', VIFs);
      if (PIFs.length > 0) throw new XapiError('NETWORK_CONTAINS_PIF', PIFs);
      db.destroy('network', ref);
      await db.saved();
    },
    attach(_context, network, host) {
      const { PIFs } = db.get('network', network);
      db.get('host', host);
      const reaches = PIFs.length === 0 || PIFs.some((pif) => db.get('PIF', pif).host === host);
      if (!reaches) throw new XapiError('HOST_CANNOT_ATTACH_NETWORK', [host, network]);
    },
    async add_purpose(_context, network, value) {
      const { purpose } = db.get('network', network);
      const conflicting = purpose.find((each) => each !== value);
      if (conflicting !== undefined) throw new XapiError('NETWORK_INCOMPATIBLE_PURPOSES', [value, conflicting]);
      db.addToSet('network', network, 'purpose', value);
      await db.saved();
    },
  };
}

function freeBridge(taken: readonly string[]): string {
  for (let number = 0; ; number += 1) if (!taken.includes(`xapi${number}`)) return `xapi${number}`;
}
