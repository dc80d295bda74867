/** What a pool starts with: its own row, and the rows of its coordinator. */
import type { Ref } from '../../idl/index.js';
import type { HostState } from '../host/service/service.js';
import { seedRoles } from './access/roles.js';
import type { Database } from './database/database.js';
import { putHost } from './hosts/host-records.js';
import { putPoolCpus } from './hosts/pool-cpus.js';
import { seedDriver } from './storage/local-storage.js';
import { provideDefaultTemplates } from './vm-records/templates.js';

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
