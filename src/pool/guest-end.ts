/** What becomes of a VM whose guest has ended by itself: its domain goes, or it begins anew, as its record says. */
import type { Ref } from '../../idl/index.js';
import type { GuestEnd } from '../base/hypervisor-protocol.js';
import type { Log } from '../base/log.js';
import type { HostService } from '../host/service.js';
import type { Database, RecordView } from './database.js';
import { vmDomain } from './migration-plan.js';
import { setBooted } from './power.js';

export interface GuestEndDeps {
  readonly db: Database;
  readonly log: Log;
  readonly now: () => Date;
}

/**
 * The domain is gone after it, or another one. A VM that cannot begin anew is halted, and so is one that has crashed.
 * @throws where the host cannot end the domain
 */
export async function endGuest(
  { db, log, now }: GuestEndDeps,
  vm: Ref<'VM'>,
  how: GuestEnd,
  service: HostService,
): Promise<void> {
  const record = db.get('VM', vm);
  const { uuid } = record;
  const restarts = actionAfter(record, how) === 'restart';
  log.info(`the guest of VM ${uuid} has ended: ${how}`, { restarts });
  try {
    if (restarts) {
      await service.reboot(vmDomain(db, record), false);
      return setBooted(db, vm, now());
    }
  } catch (error) {
    log.warn(`VM ${uuid} cannot begin anew`, { error });
  }
  await service.shutdown(uuid, false);
}

function actionAfter(vm: RecordView<'VM'>, how: GuestEnd): 'destroy' | 'restart' {
  if (how === 'crash') return 'destroy';
  return how === 'reboot' ? vm.actions_after_reboot : vm.actions_after_shutdown;
}
