/** VM.*: starting, stopping, and what is between. The VM is held, its host does it, and its record follows. */
import type { Ref } from '../../../../idl/index.js';
import { XapiError } from '../../../base/errors.js';
import type { CallContext, ClassHandlers } from '../../../model/handlers.js';
import { nullRef } from '../../../model/value.js';
import { hostNamed, type MessageName, tellOfVm } from '../../events/messages.js';
import type { PoolJobs } from '../../hosts/jobs.js';
import { assertCanTake, assertReachesDevices, chooseHost, hostOf } from '../../hosts/placement.js';
import { assertImageOn, discardImage, imageHost } from '../../hosts/suspend-image.js';
import { resetPowerState } from '../../migration/force-settlement.js';
import { cutShort } from '../../vm-life/cut-short.js';
import { provideBiosStrings } from '../../vm-records/bios-strings.js';
import { vbdRefusal } from '../../vm-records/device-allowed-operations.js';
import { keepPlatform, vmDomain } from '../../vm-records/domain-spec.js';
import { removeVm, setBooted, setHalted } from '../../vm-records/lifecycle.js';
import { type VmOperation, withVm } from '../../vm-records/vm-allowed-operations.js';
import type { HandlerDeps } from '../deps.js';

type VmRef = Ref<'VM'>;
type HostRef = Ref<'host'>;
type VmBy = Parameters<PoolJobs['onVm']>[2];
type HostCall = Parameters<PoolJobs['onVm']>[3];

type LifeMessage =
  | 'start'
  | 'start_on'
  | 'pause'
  | 'unpause'
  | 'suspend'
  | 'resume'
  | 'resume_on'
  | 'clean_shutdown'
  | 'hard_shutdown'
  | 'shutdown'
  | 'clean_reboot'
  | 'hard_reboot'
  | 'power_state_reset'
  | 'destroy';

/** What is told of an operation that was done. */
const told: Partial<Record<VmOperation, readonly [MessageName, what: string]>> = {
  start: ['VM_STARTED', 'was started'],
  start_on: ['VM_STARTED', 'was started'],
  pause: ['VM_PAUSED', 'was paused'],
  unpause: ['VM_UNPAUSED', 'goes on after a pause'],
  suspend: ['VM_SUSPENDED', 'was suspended'],
  resume: ['VM_RESUMED', 'was resumed'],
  resume_on: ['VM_RESUMED', 'was resumed'],
  clean_shutdown: ['VM_SHUTDOWN', 'was shut down'],
  hard_shutdown: ['VM_SHUTDOWN', 'was shut down by force'],
  shutdown: ['VM_SHUTDOWN', 'was shut down'],
  clean_reboot: ['VM_REBOOTED', 'was rebooted'],
  hard_reboot: ['VM_REBOOTED', 'was rebooted by force'],
};

/** The handlers of a VM's life: VM.start, VM.suspend, VM.destroy and the like. */
export function vmLifeHandlers(deps: HandlerDeps): Pick<ClassHandlers<'VM'>, LifeMessage> {
  const { db } = deps;
  /** Hold a VM for an operation, and tell of what it did. */
  const hold = async (
    { task }: CallContext,
    vm: VmRef,
    operation: VmOperation,
    run: (by: VmBy) => Promise<void>,
  ): Promise<void> => {
    await withVm(db, vm, operation, task.ref, () => run({ operation, task: task.ref }));
    tellOf(deps, vm, operation);
  };
  return {
    start: (context, vm, paused) =>
      hold(context, vm, 'start', async (by) => startOn(deps, by, vm, await chooseHost(deps, vm), paused)),
    start_on: (context, vm, host, paused) =>
      hold(context, vm, 'start_on', async (by) => {
        await assertCanTake(deps, host, vm);
        await startOn(deps, by, vm, host, paused);
      }),
    pause: (context, vm) => hold(context, vm, 'pause', (by) => onItsHost(deps, by, vm, 'pause')),
    unpause: (context, vm) => hold(context, vm, 'unpause', (by) => onItsHost(deps, by, vm, 'unpause')),
    suspend: (context, vm) => hold(context, vm, 'suspend', (by) => onItsHost(deps, by, vm, 'suspend')),
    resume: (context, vm, paused) =>
      hold(context, vm, 'resume', async (by) => resumeOn(deps, by, vm, await imageHost(deps, vm), paused)),
    resume_on: (context, vm, host, paused) =>
      hold(context, vm, 'resume_on', async (by) => {
        await assertImageOn(deps, vm, host);
        await resumeOn(deps, by, vm, host, paused);
      }),
    clean_shutdown: (context, vm) => hold(context, vm, 'clean_shutdown', (by) => shutDown(deps, by, vm, true)),
    hard_shutdown: (context, vm) =>
      hold(context, vm, 'hard_shutdown', async (by) => {
        if ((await cutShort(deps, vm, 'hard_shutdown')) !== 'Halted') await shutDown(deps, by, vm, false);
      }),
    shutdown: (context, vm) =>
      hold(context, vm, 'shutdown', async (by) => {
        if (db.get('VM', vm).power_state !== 'Running') return shutDown(deps, by, vm, false);
        await shutDown(deps, by, vm, true).catch((error: unknown) => {
          deps.log.warn(`VM ${vm} does not shut down cleanly: its domain is destroyed`, { error });
          return shutDown(deps, by, vm, false);
        });
      }),
    clean_reboot: (context, vm) => hold(context, vm, 'clean_reboot', (by) => reboot(deps, by, vm, true)),
    hard_reboot: (context, vm) =>
      hold(context, vm, 'hard_reboot', async (by) => {
        const halted = (await cutShort(deps, vm, 'hard_reboot')) === 'Halted';
        await (halted ? startOn(deps, by, vm, await chooseHost(deps, vm), false) : reboot(deps, by, vm, false));
      }),
    power_state_reset(context, vm) {
      if (db.get('VM', vm).is_control_domain) throw new XapiError('CANNOT_RESET_CONTROL_DOMAIN', [vm]);
      return hold(context, vm, 'power_state_reset', ({ task }) => resetPowerState(deps, task, vm));
    },
    destroy: (context, vm) =>
      hold(context, vm, 'destroy', async (by) => {
        if (db.get('VM', vm).power_state === 'Suspended') await discardImage(deps, by, vm);
        removeVm(db, vm);
      }),
  };
}

function tellOf(deps: HandlerDeps, vm: VmRef, operation: VmOperation): void {
  const [name, what] = told[operation] ?? [];
  const host = deps.db.find('VM', vm)?.resident_on ?? nullRef;
  if (name !== undefined)
    tellOfVm(deps, name, vm, host === nullRef ? `${what}` : `${what} on ${hostNamed(deps.db, host)}`);
}

/** Start a VM that the caller holds. */
function startOn(deps: HandlerDeps, by: VmBy, vm: VmRef, host: HostRef, paused: boolean): Promise<void> {
  const { db } = deps;
  assertDisksFree(deps, vm);
  provideBiosStrings(db, vm);
  const spec = vmDomain(deps, db.get('VM', vm));
  keepPlatform(db, vm, spec);
  return bringUp(deps, by, vm, host, (service, job) => service.start(spec, paused, job));
}

async function resumeOn(deps: HandlerDeps, by: VmBy, vm: VmRef, host: HostRef, paused: boolean): Promise<void> {
  await assertCanTake(deps, host, vm);
  const { uuid } = deps.db.get('VM', vm);
  await bringUp(deps, by, vm, host, (service, job) => service.resume(uuid, paused, job));
}

/** @throws what keeps a disk of the VM from being attached: VDI_IN_USE, VDI_READONLY and the like */
function assertDisksFree({ db }: HandlerDeps, vm: VmRef): void {
  for (const ref of db.get('VM', vm).VBDs) {
    const refused = vbdRefusal(db, ref, db.get('VBD', ref), 'attach');
    if (refused !== undefined) throw refused;
  }
}

async function bringUp(deps: HandlerDeps, by: VmBy, vm: VmRef, host: HostRef, call: HostCall): Promise<void> {
  const { db, jobs } = deps;
  db.update('VM', vm, { scheduled_to_be_resident_on: host });
  try {
    await jobs.onVm(vm, host, by, call);
  } finally {
    db.update('VM', vm, { scheduled_to_be_resident_on: nullRef });
  }
}

async function onItsHost(deps: HandlerDeps, by: VmBy, vm: VmRef, what: 'pause' | 'unpause' | 'suspend'): Promise<void> {
  const { host } = hostOf(deps, vm);
  const { uuid } = deps.db.get('VM', vm);
  await deps.jobs.onVm(vm, host, by, (service, job) => service[what](uuid, job));
}

async function shutDown(deps: HandlerDeps, by: VmBy, vm: VmRef, clean: boolean): Promise<void> {
  const { db, jobs, now } = deps;
  const { power_state, uuid } = db.get('VM', vm);
  if (power_state === 'Suspended') {
    await discardImage(deps, by, vm);
    return setHalted(db, vm, now());
  }
  const { host } = hostOf(deps, vm);
  await jobs.onVm(vm, host, by, (service, job) => service.shutdown(uuid, clean, job));
}

async function reboot(deps: HandlerDeps, by: VmBy, vm: VmRef, clean: boolean): Promise<void> {
  const { db, jobs, now } = deps;
  const { host } = hostOf(deps, vm);
  // It begins anew with all of its devices, those that were unplugged meanwhile as well.
  assertReachesDevices(db, host, vm);
  assertDisksFree(deps, vm);
  const spec = vmDomain(deps, db.get('VM', vm));
  await jobs.onVm(vm, host, by, (service, job) => service.reboot(spec, clean, job));
  if (db.get('VM', vm).power_state !== 'Halted') setBooted(db, vm, now());
}
