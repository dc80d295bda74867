/**
 * Rotation of the pool's secret. From the start every host gets the newest one; until all have it, the older ones count as well,
 * so a host that was away is let in again, and gets the newest one then.
 */
import type { Ref } from '../../../idl/index.js';
import { messageOf } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import { newSecret } from '../../host/service/secrets.js';
import type { Database } from '../database/database.js';
import { isLive } from './host-records.js';
import type { Members } from './members.js';
import type { PoolMembership } from './membership.js';

export interface SecretRotationDeps {
  readonly db: Database;
  readonly members: Members;
  readonly membership: Pick<PoolMembership, 'secrets' | 'takeSecrets' | 'control'>;
  readonly thisHost: () => Ref<'host'>;
  readonly log: Log;
}

export interface SecretRotation {
  /** Make a new secret and give it to every host that is live. Resolves when they have it. */
  rotate(): Promise<void>;
  /** A host answers: give it the secrets. */
  connected(host: Ref<'host'>): Promise<void>;
  /** A host has left the pool. */
  left(): Promise<void>;
}

/** Make what changes the pool's secret, and gives it to hosts. */
export function createSecretRotation(deps: SecretRotationDeps): SecretRotation {
  const { db, members, membership, thisHost, log } = deps;
  /** The hosts that are known to have the newest secret. */
  const reached = new Set<Ref<'host'>>([thisHost()]);
  const others = (): Ref<'host'>[] => db.all('host').flatMap(([host]) => (host === thisHost() ? [] : [host]));

  const give = async (host: Ref<'host'>): Promise<void> => {
    const secrets = membership.secrets();
    await membership.control(members.url(host)).takeSecrets(secrets);
    if (secrets[0] === membership.secrets()[0]) reached.add(host);
  };
  const giveLive = async (): Promise<void> => {
    const live = others().filter((host) => isLive(db, host));
    const report = (host: Ref<'host'>) => (error: unknown) =>
      log.warn(`host ${db.get('host', host).hostname} does not have the new secret yet: ${messageOf(error)}`);
    await Promise.all(live.map((host) => give(host).catch(report(host))));
  };
  /** Once all have the newest, it alone counts. */
  const retire = async (): Promise<void> => {
    const [newest = '', ...older] = membership.secrets();
    if (older.length === 0 || others().some((host) => !reached.has(host))) return;
    await membership.takeSecrets([newest]);
    log.info('every host has the new secret of the pool: the old one counts no more');
    await giveLive();
  };

  return {
    async rotate() {
      reached.clear();
      await membership.takeSecrets([newSecret(), ...membership.secrets()]);
      log.info('the pool has a new secret');
      await giveLive();
      await retire();
    },
    async connected(host) {
      if (host === thisHost()) return;
      await give(host);
      await retire();
    },
    left: retire,
  };
}
