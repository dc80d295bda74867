/** VM.*: starting, stopping, and what is between. The VM is held, its host does it, and its record follows. */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { CallContext, ClassHandlers } from '../../model/handlers.js';
import { nullRef } from '../../model/value.js';
import { hostNamed, type MessageName, tellOfVm } from '../events/messages.js';
import { assertCanTake, assertReachesDevices, chooseHost, hostOf } from '../hosts/placement.js';
import { resetPowerState } from '../migration/force-settlement.js';
import { vmDomain } from '../migration/plan.js';
import { cutShort } from '../vm-life/cut-short.js';
import { assertImageOn, discardImage, imageHost } from '../vm-life/suspend-image.js';
import { provideBiosStrings } from '../vm-records/bios-strings.js';
import { vbdRefusal } from '../vm-records/device-allowed-operations.js';
import { removeVm, setBooted, setHalted } from '../vm-records/lifecycle.js';
import { type VmOperation, withVm } from '../vm-records/vm-allowed-operations.js';
import type { HandlerDeps } from './deps.js';

type VmRef = Ref<'VM'>;
type HostRef = Ref<'host'>;

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

export function vmLifeHandlers(deps: HandlerDeps): Pick<ClassHandlers<'VM'>, LifeMessage> {
  const { db } = deps;
  /** Hold a VM for an operation; what it did is durable when it is answered. */
  const hold = async (
    { task }: CallContext,
    vm: VmRef,
    operation: VmOperation,
    run: () => Promise<void>,
  ): Promise<void> => {
    await withVm(db, vm, operation, task.ref, run);
    tellOf(deps, vm, operation);
    await db.saved();
  };
  return {
    start: (context, vm, paused) =>
      hold(context, vm, 'start', async () => startOn(deps, vm, await chooseHost(deps, vm), paused)),
    start_on: (context, vm, host, paused) =>
      hold(context, vm, 'start_on', async () => {
        await assertCanTake(deps, host, vm);
        await startOn(deps, vm, host, paused);
      }),
    pause: (context, vm) => hold(context, vm, 'pause', () => onItsHost(deps, vm, 'pause')),
    unpause: (context, vm) => hold(context, vm, 'unpause', () => onItsHost(deps, vm, 'unpause')),
    suspend: (context, vm) => hold(context, vm, 'suspend', () => onItsHost(deps, vm, 'suspend')),
    resume: (context, vm, paused) =>
      hold(context, vm, 'resume', async () => resumeOn(deps, vm, await imageHost(deps, vm), paused)),
    resume_on: (context, vm, host, paused) =>
      hold(context, vm, 'resume_on', async () => {
        await assertImageOn(deps, vm, host);
        await resumeOn(deps, vm, host, paused);
      }),
    clean_shutdown: (context, vm) => hold(context, vm, 'clean_shutdown', () => shutDown(deps, vm, true)),
    hard_shutdown: (context, vm) =>
      hold(context, vm, 'hard_shutdown', async () => {
        if ((await cutShort(deps, vm, 'hard_shutdown')) !== 'Halted') await shutDown(deps, vm, false);
      }),
    shutdown: (context, vm) =>
      hold(context, vm, 'shutdown', async () => {
        if (db.get('VM', vm).power_state !== 'Running') return shutDown(deps, vm, false);
        await shutDown(deps, vm, true).catch((error: unknown) => {
          deps.log.warn(`VM ${vm} does not shut down cleanly: its domain is destroyed`, { error });
          return shutDown(deps, vm, false);
        });
      }),
    clean_reboot: (context, vm) => hold(context, vm, 'clean_reboot', () => reboot(deps, vm, true)),
    hard_reboot: (context, vm) =>
      hold(context, vm, 'hard_reboot', async () => {
        const halted = (await cutShort(deps, vm, 'hard_reboot')) === 'Halted';
        await (halted ? startOn(deps, vm, await chooseHost(deps, vm), false) : reboot(deps, vm, false));
      }),
    power_state_reset(context, vm) {
      if (db.get('VM', vm).is_control_domain) throw new XapiError('CANNOT_RESET_CONTROL_DOMAIN', [vm]);
      return hold(context, vm, 'power_state_reset', () => resetPowerState(deps, vm));
    },
    destroy: (context, vm) =>
      hold(context, vm, 'destroy', async () => {
        if (db.get('VM', vm).power_state === 'Suspended') await discardImage(deps, vm);
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
function startOn(deps: HandlerDeps, vm: VmRef, host: HostRef, paused: boolean): Promise<void> {
  const { db, members } = deps;
  assertDisksFree(deps, vm);
  provideBiosStrings(db, vm);
  const spec = vmDomain(db, db.get('VM', vm));
  return bringUp(deps, vm, host, () => members.service(host).start(spec, paused));
}

async function resumeOn(deps: HandlerDeps, vm: VmRef, host: HostRef, paused: boolean): Promise<void> {
  const { db, members } = deps;
  await assertCanTake(deps, host, vm);
  await bringUp(deps, vm, host, () => members.service(host).resume(db.get('VM', vm).uuid, paused));
}

/** @throws what keeps a disk of the VM from being attached: VDI_IN_USE, VDI_READONLY and the like */
function assertDisksFree({ db }: HandlerDeps, vm: VmRef): void {
  for (const ref of db.get('VM', vm).VBDs) {
    const refused = vbdRefusal(db, ref, db.get('VBD', ref), 'attach');
    if (refused !== undefined) throw refused;
  }
}

async function bringUp(deps: HandlerDeps, vm: VmRef, host: HostRef, run: () => Promise<void>): Promise<void> {
  const { db } = deps;
  db.update('VM', vm, { scheduled_to_be_resident_on: host });
  try {
    await onDomain(deps, vm, host, run);
  } finally {
    db.update('VM', vm, { scheduled_to_be_resident_on: nullRef });
  }
}

async function onItsHost(deps: HandlerDeps, vm: VmRef, what: 'pause' | 'unpause' | 'suspend'): Promise<void> {
  const { host, service } = hostOf(deps, vm);
  const { uuid } = deps.db.get('VM', vm);
  await onDomain(deps, vm, host, () => service[what](uuid));
}

async function shutDown(deps: HandlerDeps, vm: VmRef, clean: boolean): Promise<void> {
  const { db, now } = deps;
  const { power_state, uuid } = db.get('VM', vm);
  if (power_state === 'Suspended') {
    await discardImage(deps, vm);
    return setHalted(db, vm, now());
  }
  const { host, service } = hostOf(deps, vm);
  await onDomain(deps, vm, host, () => service.shutdown(uuid, clean));
}

async function reboot(deps: HandlerDeps, vm: VmRef, clean: boolean): Promise<void> {
  const { db, now } = deps;
  const { host, service } = hostOf(deps, vm);
  // It begins anew with all of its devices, those that were unplugged meanwhile as well.
  assertReachesDevices(db, host, vm);
  assertDisksFree(deps, vm);
  const spec = vmDomain(db, db.get('VM', vm));
  await onDomain(deps, vm, host, () => service.reboot(spec, clean));
  if (db.get('VM', vm).power_state !== 'Halted') setBooted(db, vm, now());
}

/** Change a domain, and bring the VM's record to what came of it. */
async function onDomain(deps: HandlerDeps, vm: VmRef, host: HostRef, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    await deps.members.settle(vm, host).catch(() => undefined);
    throw error;
  }
  await deps.members.settle(vm, host);
}
