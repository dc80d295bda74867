/** role.*: what roles may do. */
import type { ClassHandlers } from '../../base/handlers.js';
import type { HandlerDeps } from '../handler-deps.js';
import { permissionsOf, rolesFor } from '../roles.js';

export function roleHandlers({ db }: HandlerDeps): ClassHandlers<'role'> {
  return {
    get_permissions_name_label: (_context, role) => permissionsOf(db, role),
    get_by_permission_name_label: (_context, label) => rolesFor(label),
  };
}
