/** session.*: logging in and out. */
import type { ClassHandlers } from '../../base/handlers.js';
import type { HandlerDeps } from '../handler-deps.js';

export function sessionHandlers({ db, sessions }: HandlerDeps): ClassHandlers<'session'> {
  return {
    login_with_password: (_context, user, password, _version, originator) => sessions.login(user, password, originator),
    logout({ session }) {
      if (session !== undefined) sessions.logout(session);
    },
    change_password: ({ session }, oldPassword, newPassword) => {
      const user = session === undefined ? '' : db.get('session', session).auth_user_name;
      return sessions.changePassword(user, oldPassword, newPassword);
    },
  };
}
