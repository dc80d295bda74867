/** What becomes of a VM whose guest has ended by itself: its domain goes, or it begins anew, as its record says. */
import { randomUUID } from 'node:crypto';
import type { Ref } from '../../../idl/index.js';
import type { Log } from '../../base/log.js';
import type { GuestEnd } from '../../base/protocol/hypervisor-protocol.js';
import type { RecordView } from '../database/database.js';
import { hostNamed, type MessageDeps, type MessageName, tellOfVm } from '../events/messages.js';
import type { PoolJobs } from '../hosts/jobs.js';
import { vmDomain } from '../migration/plan.js';
import { clearDoubt } from '../vm-records/in-doubt.js';
import { setBooted, setHalted } from '../vm-records/lifecycle.js';

export interface GuestEndDeps extends MessageDeps {
  readonly jobs: Pick<PoolJobs, 'onVm' | 'openOn'>;
  readonly log: Log;
}

/** What is told of the ends that leave a VM halted. */
const told = {
  poweroff: ['VM_SHUTDOWN', 'was shut down by its guest'],
  reboot: ['VM_SHUTDOWN', 'was to be rebooted by its guest, and is halted'],
  crash: ['VM_CRASHED', 'has crashed'],
} as const satisfies Record<GuestEnd, readonly [MessageName, what: string]>;

/**
 * The domain is gone after it, or another one. A VM that cannot begin anew is halted, and so is one that has crashed.
 * @throws where the host cannot end the domain
 */
export async function endGuest(deps: GuestEndDeps, vm: Ref<'VM'>, how: GuestEnd, host: Ref<'host'>): Promise<void> {
  const task = `OpaqueRef:${randomUUID()}`;
  const hold = (operation: Hold): void => deps.db.putInMap('VM', vm, 'current_operations', task, operation);
  try {
    await bringAbout(deps, { task, hold }, vm, how, host);
  } finally {
    if (deps.db.find('VM', vm) !== undefined) deps.db.removeFromMap('VM', vm, 'current_operations', task);
  }
}

type Hold = 'hard_reboot' | 'hard_shutdown';

async function bringAbout(
  deps: GuestEndDeps,
  { task, hold }: { readonly task: string; readonly hold: (operation: Hold) => void },
  vm: Ref<'VM'>,
  how: GuestEnd,
  host: Ref<'host'>,
): Promise<void> {
  const { db, jobs, log, now } = deps;
  // What is there is known without another look, which would find the end again.
  const byItself = async (): Promise<void> => undefined;
  const record = db.get('VM', vm);
  const { uuid } = record;
  const where = `on ${hostNamed(db, host)}`;
  const isHere = () => db.find('VM', vm)?.resident_on === host;
  const restarts = isHere() && actionAfter(record, how) === 'restart';
  log.info(`the guest of VM ${uuid} has ended: ${how}`, { restarts });
  try {
    if (restarts) {
      hold('hard_reboot');
      const spec = vmDomain(db, record);
      const by = { operation: 'hard_reboot', task } as const;
      await jobs.onVm(vm, host, by, (service, job) => service.reboot(spec, false, job), byItself);
      setBooted(db, vm, now());
      return tellOfVm(deps, 'VM_REBOOTED', vm, `was rebooted by its guest ${where}`);
    }
  } catch (error) {
    if (jobs.openOn(vm).length > 0) throw error;
    log.warn(`VM ${uuid} cannot begin anew`, { error });
  }
  hold('hard_shutdown');
  const by = { operation: 'hard_shutdown', task } as const;
  await jobs.onVm(vm, host, by, (service, job) => service.shutdown(uuid, false, job), byItself);
  if (!isHere()) return;
  setHalted(db, vm, now());
  clearDoubt(deps, vm);
  const [name, what] = told[how];
  tellOfVm(deps, name, vm, `${what} ${where}`);
}

function actionAfter(vm: RecordView<'VM'>, how: GuestEnd): 'destroy' | 'restart' {
  if (how === 'crash') return 'destroy';
  return how === 'reboot' ? vm.actions_after_reboot : vm.actions_after_shutdown;
}
