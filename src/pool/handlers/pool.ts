/** pool.*: which hosts are of the pool, and what they share. */
import type { ClassHandlers } from '../../model/handlers.js';
import { eject } from '../hosts/eject.js';
import { isLive } from '../hosts/host-records.js';
import { joinPool } from '../hosts/join.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class pool. */
export function poolHandlers(deps: HandlerDeps): ClassHandlers<'pool'> {
  const { db, members, membership, rotation, thisHost } = deps;
  return {
    join: (_context, address, user, password) => joinPool(deps, { address, user, password, force: false }),
    join_force: (_context, address, user, password) => joinPool(deps, { address, user, password, force: true }),
    eject: (_context, host) => eject(deps, host),
    initial_auth: () => membership.secrets()[0] ?? '',
    rotate_secret: () => rotation.rotate(),
    async recover_slaves() {
      const lost = db.all('host').flatMap(([host]) => (isLive(db, host) ? [] : [host]));
      const answers = await Promise.all(lost.map((host) => members.revive(host)));
      return lost.filter((_host, index) => answers[index]);
    },
    async hello(_context, uuid) {
      const host = db.findByUuid('host', uuid);
      if (host === undefined) return 'unknown_host';
      return members.state(host).then(
        () => 'ok' as const,
        () => 'cannot_talk_back' as const,
      );
    },
    is_slave(_context, host) {
      db.get('host', host);
      return host !== thisHost();
    },
    sync_database: () => db.saved(),
  };
}
