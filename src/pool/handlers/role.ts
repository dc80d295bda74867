/** role.*: what roles may do. */
import type { ClassHandlers } from '../../model/handlers.js';
import { permissionsOf, rolesFor } from '../access/roles.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class role. */
export function roleHandlers({ db }: HandlerDeps): ClassHandlers<'role'> {
  return {
    get_permissions_name_label: (_context, role) => permissionsOf(db, role),
    get_by_permission_name_label: (_context, label) => rolesFor(label),
  };
}
