/** What becomes of a VM whose guest has ended by itself: its domain goes, or it begins anew, as its record says. */
import { randomUUID } from 'node:crypto';
import type { Ref } from '../../../idl/index.js';
import type { GuestEnd } from '../../base/domain.js';
import { isOutOfSpace } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { RecordView } from '../database/database.js';
import { beginHold, endHold } from '../database/hold.js';
import { hostNamed, type MessageDeps, type MessageName, tellOfVm } from '../events/messages.js';
import type { PoolJobs } from '../hosts/jobs.js';
import { type DomainDeps, vmDomain } from '../vm-records/domain-spec.js';
import { clearDoubt } from '../vm-records/in-doubt.js';
import { setBooted, setHalted } from '../vm-records/lifecycle.js';

export interface GuestEndDeps extends MessageDeps, DomainDeps {
  readonly jobs: Pick<PoolJobs, 'onVm' | 'openOn'>;
  readonly log: Log;
}

/** What is told of the ends that leave a VM halted. */
const told = {
  poweroff: ['VM_SHUTDOWN', 'was shut down by its guest'],
  reboot: ['VM_SHUTDOWN', 'was to be rebooted by its guest, and is halted'],
  crash: ['VM_CRASHED', 'has crashed'],
} as const satisfies Record<GuestEnd, readonly [MessageName, what: string]>;

/** The guest of a VM that has ended, where, and the call that brings about what its record says. */
interface EndedGuest {
  readonly vm: Ref<'VM'>;
  readonly how: GuestEnd;
  readonly host: Ref<'host'>;
  /** The host as a message names it: by the end of the call it may be gone from the pool. */
  readonly where: string;
  /** Unique text, under which the VM is held. */
  readonly task: string;
}

/**
 * Bring about what a VM's record says of its guest's end: the domain is gone then, or is another one. A VM that cannot begin anew is
 * halted.
 * @throws where the host cannot end the domain
 */
export async function endGuest(deps: GuestEndDeps, vm: Ref<'VM'>, how: GuestEnd, host: Ref<'host'>): Promise<void> {
  const { db, log } = deps;
  const guest: EndedGuest = {
    vm,
    how,
    host,
    where: `on ${hostNamed(db, host)}`,
    task: `OpaqueRef:${randomUUID()}`,
  };
  const record = db.get('VM', vm);
  const restarts = isHere(deps, guest) && actionAfter(record, how) === 'restart';
  log.info(`the guest of VM ${record.uuid} has ended: ${how}`, { restarts });
  try {
    if (!(restarts && (await restart(deps, guest, record)))) await halt(deps, guest, record);
  } finally {
    endHold(db, { cls: 'VM', ref: vm }, guest.task);
  }
}

/** Whether the record has the VM where its guest has ended. */
function isHere({ db }: GuestEndDeps, { vm, host }: EndedGuest): boolean {
  return db.find('VM', vm)?.resident_on === host;
}

/** Nothing: what is there is known without another look, which would find the end again. */
async function withoutALook(): Promise<void> {}

/**
 * @returns false where the VM cannot begin anew
 * @throws where nobody knows whether it has; OUT_OF_SPACE
 */
async function restart(deps: GuestEndDeps, guest: EndedGuest, record: RecordView<'VM'>): Promise<boolean> {
  const { db, jobs, log, now } = deps;
  const { vm, how, host, where, task } = guest;
  const by = { operation: 'hard_reboot', task } as const;
  try {
    beginHold(db, { cls: 'VM', ref: vm }, by.operation, task);
    const spec = vmDomain(deps, record);
    await jobs.onVm(vm, host, by, (service, job) => service.reboot(spec, false, job), withoutALook);
    setBooted(db, vm, now());
    tellOfVm(
      deps,
      'VM_REBOOTED',
      vm,
      `${how === 'crash' ? 'has crashed, and was started anew' : 'was rebooted by its guest'} ${where}`,
    );
    return true;
  } catch (error) {
    // Where there is no space it begins anew when there is, as its host tells of the end until then.
    if (jobs.openOn(vm).length > 0 || isOutOfSpace(error)) throw error;
    log.warn(`VM ${record.uuid} cannot begin anew`, { error });
    return false;
  }
}

/** @throws where the host cannot end the domain */
async function halt(deps: GuestEndDeps, guest: EndedGuest, { uuid }: RecordView<'VM'>): Promise<void> {
  const { db, jobs, now } = deps;
  const { vm, how, host, where, task } = guest;
  const by = { operation: 'hard_shutdown', task } as const;
  beginHold(db, { cls: 'VM', ref: vm }, by.operation, task);
  await jobs.onVm(vm, host, by, (service, job) => service.shutdown(uuid, false, job), withoutALook);
  if (!isHere(deps, guest)) return;
  setHalted(db, vm, now());
  clearDoubt(deps, vm);
  const [name, what] = told[how];
  tellOfVm(deps, name, vm, `${what} ${where}`);
}

/** There is no dump of a guest's memory, nor another name for it; what would be preserved is ended. */
const restartsAfterCrash: ReadonlySet<string> = new Set(['restart', 'coredump_and_restart', 'rename_restart']);

function actionAfter(vm: RecordView<'VM'>, how: GuestEnd): 'destroy' | 'restart' {
  if (how === 'crash') return restartsAfterCrash.has(vm.actions_after_crash) ? 'restart' : 'destroy';
  return how === 'reboot' ? vm.actions_after_reboot : vm.actions_after_shutdown;
}
