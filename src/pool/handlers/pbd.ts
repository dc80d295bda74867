/** PBD.*: which host reaches which SR. */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { ClassHandlers } from '../../model/handlers.js';
import type { Database } from '../database/database.js';
import { storageOf, tryRefreshUsage } from '../storage/sr-access.js';
import { assertFileSr } from '../storage/srs.js';
import { withSr } from '../storage/storage-allowed-operations.js';
import type { HandlerDeps } from './deps.js';

/** The handlers of the class PBD. */
export function pbdHandlers(deps: HandlerDeps): ClassHandlers<'PBD'> {
  const { db } = deps;
  return {
    create: ({ task }, { host, SR, device_config, other_config }) =>
      withSr(db, SR, 'pbd_create', task.ref, async () => {
        db.get('host', host);
        const { PBDs, type, shared } = db.get('SR', SR);
        assertFileSr(type, device_config, shared);
        const there = PBDs.find((pbd) => db.get('PBD', pbd).host === host);
        if (there !== undefined) throw new XapiError('PBD_EXISTS', [SR, host, there]);
        const ref = db.create('PBD', { host, SR, device_config, other_config });
        await db.saved();
        return ref;
      }),
    destroy: ({ task }, pbd) =>
      withSr(db, db.get('PBD', pbd).SR, 'pbd_destroy', task.ref, async () => {
        if (db.get('PBD', pbd).currently_attached) throw new XapiError('OPERATION_NOT_ALLOWED', [`${pbd} is plugged`]);
        db.destroy('PBD', pbd);
        await db.saved();
      }),
    async plug({ task }, pbd) {
      const { SR, host, currently_attached } = db.get('PBD', pbd);
      if (currently_attached) return;
      await withSr(db, SR, 'plug', task.ref, async () => {
        assertNotElsewhere(db, SR, host);
        await storageOf(deps, host).statSr(db.get('SR', SR).uuid);
        assertNotElsewhere(db, SR, host);
        db.update('PBD', pbd, { currently_attached: true });
        await tryRefreshUsage(deps, SR);
        await db.saved();
      });
    },
    async unplug({ task }, pbd) {
      const { SR, host, currently_attached } = db.get('PBD', pbd);
      if (!currently_attached) return;
      await withSr(db, SR, 'unplug', task.ref, async () => {
        const used = usedOn(db, SR, host);
        if (used.length > 0) throw new XapiError('VDI_IN_USE', used);
        db.update('PBD', pbd, { currently_attached: false });
        await db.saved();
      });
    },
  };
}

/** @throws SR_NOT_SHARABLE [sr, host] */
function assertNotElsewhere(db: Database, sr: Ref<'SR'>, host: Ref<'host'>): void {
  const { PBDs, shared } = db.get('SR', sr);
  const other = PBDs.map((pbd) => db.get('PBD', pbd)).find((pbd) => pbd.currently_attached && pbd.host !== host);
  if (!shared && other !== undefined) throw new XapiError('SR_NOT_SHARABLE', [sr, other.host]);
}

/** The disks of an SR that VMs on a host have. */
function usedOn(db: Database, sr: Ref<'SR'>, host: Ref<'host'>): Ref<'VDI'>[] {
  const inUse = (vbd: Ref<'VBD'>): boolean => {
    const { currently_attached, VM } = db.get('VBD', vbd);
    return currently_attached && db.find('VM', VM)?.resident_on === host;
  };
  return db.get('SR', sr).VDIs.filter((vdi) => db.get('VDI', vdi).VBDs.some(inUse));
}
