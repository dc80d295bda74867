/**
 * The sessions that host.migrate_receive gives to other pools. Each is for one migration and for nothing else: it calls what a source
 * calls, synchronously, for one VM at one host, and ends with the migration. The first VM.receive says which VM that is.
 */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { SessionService } from './sessions.js';

/** What a source sends with it, in lower case as in session.rbac_permissions; and the end of the session. */
const sourcePermissions = ['network.get_all', 'session.logout', 'vm.receive'] as const;

export interface MigrationSessions {
  /**
   * @param host at which a VM is to arrive
   */
  open(host: Ref<'host'>): Ref<'session'>;
  /**
   * For a VM.receive. A session of another kind may what its roles say.
   * @param uuid of the VM
   * @throws RBAC_PERMISSION_DENIED where the session is for another host or VM
   */
  claim(session: Ref<'session'> | undefined, host: Ref<'host'>, uuid: string): void;
  /** The migration is over, and with it its session; one of another kind goes on. */
  end(session: Ref<'session'> | undefined): void;
}

/** Make the sessions of migrations among the sessions of a pool. */
export function createMigrationSessions(
  sessions: Pick<SessionService, 'open' | 'ended' | 'logout'>,
): MigrationSessions {
  const purposes = new Map<Ref<'session'>, { readonly host: Ref<'host'>; uuid?: string }>();
  return {
    open(host) {
      const session = sessions.open('host.migrate_receive', sourcePermissions);
      purposes.set(session, { host });
      sessions.ended(session).addEventListener('abort', () => purposes.delete(session), { once: true });
      return session;
    },
    claim(session, host, uuid) {
      const purpose = session && purposes.get(session);
      if (purpose === undefined) return;
      if (purpose.host !== host || (purpose.uuid ?? uuid) !== uuid) {
        throw new XapiError('RBAC_PERMISSION_DENIED', [
          'vm.receive',
          `No permission in user session. (It is for VM ${purpose.uuid ?? uuid} at host ${purpose.host})`,
        ]);
      }
      purpose.uuid = uuid;
    },
    end(session) {
      if (session !== undefined && purposes.has(session)) sessions.logout(session);
    },
  };
}
