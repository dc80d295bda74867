/**
 * Marks of copies that may not run, and who has set them. A back end keeps a mark as a text, which people read as well; a migration's
 * begins with its id. Only this file reads that.
 */

/** Who has marked a copy: a migration, or the coordinator. */
export type Doubt = { readonly by: 'migration'; readonly migrationId: string } | { readonly by: 'coordinator' };

/**
 * The mark of a migration, as a back end keeps it.
 *
 * @param why
 * one line for people
 */
export function encodeDoubt(migrationId: string, why: string): string {
  return `migration ${migrationId}: ${why}`;
}

/** Read a mark; what names a migration without a colon behind its id counts as the migration's as well. */
export function decodeDoubt(mark: string): Doubt {
  const [, migrationId] = /^migration ([\w.-]+):? /.exec(mark) ?? [];
  return migrationId === undefined ? { by: 'coordinator' } : { by: 'migration', migrationId };
}

/** Whether a migration has marked a copy, and not the coordinator or another one. */
export function isDoubtOf(migrationId: string, mark: string): boolean {
  const doubt = decodeDoubt(mark);
  return doubt.by === 'migration' && doubt.migrationId === migrationId;
}
