/** session.*: logging in and out. */

import { invalidValue, XapiError } from '../../base/errors.js';
import { sameSecret } from '../../base/secret.js';
import type { ClassHandlers } from '../../model/handlers.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class session. */
export function sessionHandlers({ db, sessions, membership }: HandlerDeps): ClassHandlers<'session'> {
  return {
    login_with_password: ({ origin }, user, password, _version, originator) =>
      sessions.login(user, password, originator, origin.address),
    slave_login({ origin }, host, secret) {
      if (!membership.secrets().some((known) => sameSecret(known, secret))) {
        sessions.noteHost('failed', origin.address);
        throw new XapiError('SESSION_AUTHENTICATION_FAILED', [host, 'this is not the secret of the pool']);
      }
      db.get('host', host);
      const session = sessions.open('session.slave_login');
      db.update('session', session, { pool: true, this_host: host });
      sessions.noteHost('logged in', origin.address);
      return session;
    },
    logout({ session, origin }) {
      if (session !== undefined) sessions.logout(session, origin.address);
    },
    local_logout({ session, origin }) {
      if (session !== undefined) sessions.logout(session, origin.address);
    },
    get_all_subject_identifiers: () => [
      ...new Set(db.all('session').flatMap(([, { auth_user_sid: sid }]) => (sid === '' ? [] : [sid]))),
    ],
    logout_subject_identifier(_context, sid) {
      if (sid === '') throw invalidValue('subject_identifier', sid, 'an identifier');
      for (const [ref, { auth_user_sid }] of db.all('session')) if (auth_user_sid === sid) sessions.logout(ref);
    },
    change_password: async ({ session, origin }, oldPassword, newPassword) => {
      if (session !== undefined) await sessions.changePassword(session, oldPassword, newPassword, origin.address);
    },
  };
}
