/** What a pool starts with: its own row, and the rows of its coordinator. */
import type { Ref } from '../../idl/index.js';
import type { HostState } from '../host/service.js';
import type { Database } from './database.js';
import { putHost } from './host-rows.js';
import { seedDriver } from './local-storage.js';
import { putPoolCpus } from './pool-cpus.js';
import { seedRoles } from './roles.js';
import { provideDefaultTemplates } from './vm-template.js';

/**
 * Make the pool's first rows where the database is empty, and bring the coordinator's up to date.
 * @returns the coordinator
 */
export async function seed(db: Database, own: HostState, version: string, now: Date): Promise<Ref<'host'>> {
  seedRoles(db);
  seedDriver(db, version);
  const master = await putHost(db, own, version, now);
  const [known] = db.all('pool');
  const pool = known?.[0] ?? db.create('pool', { master });
  db.update('pool', pool, { master });
  if (known === undefined) putPoolCpus(db);
  provideDefaultTemplates(db, pool, known === undefined, now);
  return master;
}
