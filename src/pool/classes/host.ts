/** host.*: what the coordinator answers of a host, or asks it. */
import type { ClassHandlers } from '../../base/handlers.js';
import type { HandlerDeps } from '../handler-deps.js';
import { urlOn } from '../migration-destination.js';

export function hostHandlers(deps: HandlerDeps): ClassHandlers<'host'> {
  const { db, members, sessions, thisHost, now } = deps;
  return {
    compute_free_memory: async (_context, host) => (await members.state(host)).memoryFree,
    get_servertime(_context, host) {
      db.get('host', host);
      return now();
    },
    migrate_receive(_context, host, network) {
      const url = urlOn(db, members, host, network);
      const session = sessions.open('host.migrate_receive');
      return {
        SM: `${url}/services/SM?session_id=${session}`,
        host,
        xenops: `${url}/services/xenops?session_id=${session}`,
        session_id: session,
        master: new URL(members.url(thisHost())).origin,
      };
    },
  };
}
