import type { Ref } from '../../idl/index.js';
import type { Database } from '../../src/pool/database/database.js';

/** The VMs that a test has made: no control domains, no default templates. */
export function ownVms(db: Database): Ref<'VM'>[] {
  return db.all('VM').flatMap(([ref, vm]) => (vm.is_control_domain || vm.is_default_template ? [] : [ref]));
}
