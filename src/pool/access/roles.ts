/** The roles of the XenAPI: their rows, which are the same in every pool, and what each may do. */
import { createHash } from 'node:crypto';
import type { Ref, Role } from '../../../idl/index.js';
import { surface } from '../../model/surface.js';
import type { Database } from '../database/database.js';

/** From the most to the least, with what each is for. */
const descriptions: Readonly<Record<Role, string>> = {
  'pool-admin': 'May do everything, the management of users and of the pool itself included',
  'pool-operator': 'May manage what all share: hosts, storage, networks, and the pool but for its users',
  'vm-power-admin': 'May do everything with VMs and templates: migrate them, and choose where they run',
  'vm-admin': 'May make, change and remove VMs and templates',
  'vm-operator': 'May use the VMs that are there: start and stop them, and see their consoles',
  'client-cert': 'What a client may do that shows a certificate and has no other role',
  'read-only': 'May log in and look',
};

const ranks = Object.keys(descriptions) as Role[];

/** The uuid of a role follows from its name, so that subjects can have roles of before as their default. */
function roleRef(name: Role): Ref<'role'> {
  return `OpaqueRef:${roleUuid(name)}` as Ref<'role'>;
}

function roleUuid(name: Role): string {
  const digest = createHash('md5').update(name).digest('hex');
  return digest.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Make the rows of the roles, or bring them up to date. A role has those below it. */
export function seedRoles(db: Database): void {
  for (const [index, name] of ranks.entries()) {
    const below = name === 'client-cert' ? [] : ranks.slice(index + 1).filter((role) => role !== 'client-cert');
    const fields = {
      name_label: name,
      name_description: descriptions[name],
      subroles: below.map(roleRef),
      is_internal: name === 'client-cert',
    };
    if (db.find('role', roleRef(name)) !== undefined) db.update('role', roleRef(name), fields);
    else db.create('role', { uuid: roleUuid(name), ...fields }, roleRef(name));
  }
}

/** The messages that a role may send, in lower case. @throws HANDLE_INVALID */
export function permissionsOf(db: Database, role: Ref<'role'>): string[] {
  const name = db.get('role', role).name_label;
  return [...surface.values()]
    .filter(({ roles }) => roles.some((each) => each === name))
    .map((message) => message.name.toLowerCase());
}

/** The roles that may send a message; none for a name that is no message's. */
export function rolesFor(permission: string): Ref<'role'>[] {
  const message = [...surface.values()].find(({ name }) => name.toLowerCase() === permission);
  return (message?.roles ?? []).map(roleRef);
}
