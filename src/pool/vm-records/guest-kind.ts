/** What runs the guest of a VM, as its host says it. */
import type { Ref } from '../../../idl/index.js';
import { nullRef } from '../../model/value.js';
import type { Database } from '../database/database.js';

/** Whether the host on which a VM is simulates its guest. */
export function isSimulated(db: Database, ref: Ref<'VM'>): boolean {
  const host = db.find('host', db.find('VM', ref)?.resident_on ?? nullRef);
  return (host?.software_version.backend ?? 'simulator') === 'simulator';
}
