/** What a pool starts with: its own row, and the rows of its coordinator. */
import type { Ref } from '../../idl/index.js';
import { nullRef } from '../base/value.js';
import type { HostState } from '../host/service.js';
import type { Database } from './database.js';
import { putHost } from './host-rows.js';

/**
 * Make the pool's first rows where the database is empty, and bring the coordinator's up to date.
 * @returns the coordinator
 */
export async function seed(db: Database, own: HostState, version: string, now: Date): Promise<Ref<'host'>> {
  const master = await putHost(db, own, version, now);
  const [pool] = db.all('pool');
  if (pool !== undefined) {
    db.update('pool', pool[0], { master });
    return master;
  }
  const [PBD] = db.get('host', master).PBDs;
  const SR = PBD === undefined ? nullRef : db.get('PBD', PBD).SR;
  db.create('pool', { master, default_SR: SR, suspend_image_SR: SR, crash_dump_SR: SR });
  return master;
}
