/** session.*: logging in and out. */
import { invalidValue, XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../base/handlers.js';
import { sameSecret } from '../../migrate/rendezvous.js';
import type { HandlerDeps } from '../handler-deps.js';

export function sessionHandlers({ db, sessions, membership }: HandlerDeps): ClassHandlers<'session'> {
  return {
    login_with_password: (_context, user, password, _version, originator) => sessions.login(user, password, originator),
    slave_login(_context, host, secret) {
      if (!membership.secrets().some((known) => sameSecret(known, secret))) {
        throw new XapiError('SESSION_AUTHENTICATION_FAILED', [host, 'this is not the secret of the pool']);
      }
      db.get('host', host);
      const session = sessions.open('session.slave_login');
      db.update('session', session, { pool: true, this_host: host });
      return session;
    },
    logout({ session }) {
      if (session !== undefined) sessions.logout(session);
    },
    local_logout({ session }) {
      if (session !== undefined) sessions.logout(session);
    },
    get_all_subject_identifiers: () => [
      ...new Set(db.all('session').flatMap(([, { auth_user_sid: sid }]) => (sid === '' ? [] : [sid]))),
    ],
    logout_subject_identifier(_context, sid) {
      if (sid === '') throw invalidValue('subject_identifier', sid, 'an identifier');
      for (const [ref, { auth_user_sid }] of db.all('session')) if (auth_user_sid === sid) sessions.logout(ref);
    },
    change_password: ({ session }, oldPassword, newPassword) => {
      const user = session === undefined ? '' : db.get('session', session).auth_user_name;
      return sessions.changePassword(user, oldPassword, newPassword);
    },
  };
}
