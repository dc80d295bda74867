/** Where the memory of a suspended VM is: on one host, which alone can resume it. The hosts know; the pool asks them. */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { PoolJobs } from './jobs.js';
import type { PlacementDeps } from './placement.js';

/**
 * The host that has a suspended VM's memory.
 * @throws VM_HAS_NO_SUSPEND_VDI [vm] where no host has it, HOST_OFFLINE [host] where one that may have it does not answer
 */
export async function imageHost({ db, members }: PlacementDeps, vm: Ref<'VM'>): Promise<Ref<'host'>> {
  const { uuid } = db.get('VM', vm);
  const hosts = db.all('host').map(([ref]) => ref);
  const states = await Promise.all(hosts.map((host) => members.state(host).catch(() => undefined)));
  const found = hosts.find((_, index) => states[index]?.suspended?.includes(uuid));
  if (found !== undefined) return found;
  const silent = hosts.find((_, index) => states[index] === undefined);
  if (silent !== undefined) throw new XapiError('HOST_OFFLINE', [silent]);
  throw new XapiError('VM_HAS_NO_SUSPEND_VDI', [vm]);
}

/** Check that a host has a suspended VM's memory. @throws OPERATION_NOT_ALLOWED where the VM's memory is on another host, what `imageHost` throws */
export async function assertImageOn(deps: PlacementDeps, vm: Ref<'VM'>, host: Ref<'host'>): Promise<void> {
  deps.db.get('host', host);
  const there = await imageHost(deps, vm);
  if (there === host) return;
  const { name_label } = deps.db.get('host', there);
  throw new XapiError('OPERATION_NOT_ALLOWED', [
    `${vm} was suspended on host ${name_label} (${there}), which has its memory: it can be resumed there alone`,
  ]);
}

/** Remove what a suspended VM was suspended to; fine where that is gone. @throws HOST_OFFLINE [host] */
export async function discardImage(
  deps: PlacementDeps & { readonly jobs: Pick<PoolJobs, 'onVm'> },
  by: Parameters<PoolJobs['onVm']>[2],
  vm: Ref<'VM'>,
): Promise<void> {
  try {
    const host = await imageHost(deps, vm);
    const { uuid } = deps.db.get('VM', vm);
    await deps.jobs.onVm(vm, host, by, (service, job) => service.shutdown(uuid, false, job));
  } catch (error) {
    if (!(error instanceof XapiError && error.code === 'VM_HAS_NO_SUSPEND_VDI')) throw error;
  }
}
