/** VM.*: a VM's record, its life, and its moves. */
import type { Ref } from '../../../idl/index.js';
import type { CallContext, ClassHandlers } from '../../base/handlers.js';
import { nullRef } from '../../base/value.js';
import { updateAllowedOperations, type VmOperation, withVm } from '../allowed-operations.js';
import { assertCanTake, chooseHost, hostOf, possibleHosts } from '../forward.js';
import type { HandlerDeps } from '../handler-deps.js';
import { vmDomain } from '../migration-plan.js';
import { removeVm } from '../power.js';
import { createVm } from '../vm-create.js';

type VmRef = Ref<'VM'>;

export function vmHandlers(deps: HandlerDeps): ClassHandlers<'VM'> {
  const { db, vmMigrate, vmReceive } = deps;
  return {
    async create(_context, args) {
      const ref = createVm(db, args, deps.now());
      await db.saved();
      return ref;
    },
    async destroy({ task }, vm) {
      await withVm(db, vm, 'destroy', task.ref, async () => removeVm(db, vm));
      await db.saved();
    },
    start: ({ task }, vm, paused) =>
      withVm(db, vm, 'start', task.ref, async () => startOn(deps, vm, await chooseHost(deps, vm), paused)),
    start_on: ({ task }, vm, host, paused) =>
      withVm(db, vm, 'start_on', task.ref, async () => {
        await assertCanTake(deps, host, vm);
        await startOn(deps, vm, host, paused);
      }),
    pause: (context, vm) => onHost(deps, context, vm, 'pause'),
    unpause: (context, vm) => onHost(deps, context, vm, 'unpause'),
    clean_shutdown: (context, vm) => onHost(deps, context, vm, 'clean_shutdown'),
    hard_shutdown: (context, vm) => onHost(deps, context, vm, 'hard_shutdown'),
    shutdown: (context, vm) => onHost(deps, context, vm, 'shutdown'),
    update_allowed_operations: (_context, vm) => updateAllowedOperations(db, vm),
    get_possible_hosts(_context, vm) {
      db.get('VM', vm);
      return possibleHosts(deps, vm);
    },
    pool_migrate: ({ task }, vm, host, options) => vmMigrate.poolMigrate(task, vm, host, options),
    migrate_send: ({ task }, vm, dest, live, vdiMap, vifMap, options, vgpuMap) =>
      vmMigrate.migrateSend(task, vm, { dest, live, vdiMap, vifMap, options, vgpuMap }),
    assert_can_migrate: (_context, vm, dest, live, vdiMap, vifMap, options, vgpuMap) =>
      vmMigrate.assertCanMigrate(vm, { dest, live, vdiMap, vifMap, options, vgpuMap }),
    receive: (_context, host, migrationId, metadata) => vmReceive.receive(host, migrationId, metadata),
  };
}

/** Start a VM that the caller holds. */
async function startOn(deps: HandlerDeps, vm: VmRef, host: Ref<'host'>, paused: boolean): Promise<void> {
  const { db, members } = deps;
  const spec = vmDomain(db, db.get('VM', vm));
  db.update('VM', vm, { scheduled_to_be_resident_on: host });
  try {
    await onDomain(deps, vm, host, () => members.service(host).start(spec, paused));
  } finally {
    db.update('VM', vm, { scheduled_to_be_resident_on: nullRef });
  }
  await db.saved();
}

type LifeCycle = Extract<VmOperation, 'pause' | 'unpause' | 'clean_shutdown' | 'hard_shutdown' | 'shutdown'>;

/** Have the VM's host change the state of its domain. */
function onHost(deps: HandlerDeps, { task }: CallContext, vm: VmRef, operation: LifeCycle): Promise<void> {
  const { db } = deps;
  return withVm(db, vm, operation, task.ref, async () => {
    const { host, service } = hostOf(deps, vm);
    const { uuid, power_state } = db.get('VM', vm);
    const clean = operation === 'clean_shutdown' || (operation === 'shutdown' && power_state === 'Running');
    await onDomain(deps, vm, host, () => {
      if (operation === 'pause') return service.pause(uuid);
      if (operation === 'unpause') return service.unpause(uuid);
      return service.shutdown(uuid, clean);
    });
    await db.saved();
  });
}

/** Change a domain, and bring the VM's record to what came of it. */
async function onDomain(deps: HandlerDeps, vm: VmRef, host: Ref<'host'>, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    await deps.members.settle(vm, host).catch(() => undefined);
    throw error;
  }
  await deps.members.settle(vm, host);
}
