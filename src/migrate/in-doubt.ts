/** Marks of copies that may not run, and who has set them. */

/** Whether a migration has marked a copy, and not the coordinator or another one. */
export function isDoubtOf(migrationId: string, reason: string): boolean {
  return reason.startsWith(`migration ${migrationId}:`);
}
