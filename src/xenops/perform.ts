/** Do what a plan says, against the back end; when a step fails, undo those before it, the last first. */
import { randomUUID } from 'node:crypto';
import type { Backend } from '../backend/backend.js';
import type { DomainHandle, DomainInfo } from '../base/domain.js';
import { XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { type Operation, vmOf } from './operations.js';
import { type Atomic, plan, undoOf } from './plan.js';
import type { Suspended } from './suspended.js';

export interface PerformDeps {
  readonly backend: Backend;
  readonly suspended: Pick<Suspended, 'save' | 'restore' | 'discard'>;
  /** How long a guest has to shut down when it is asked to. */
  readonly shutdownTimeoutMs: () => number;
  readonly log: Log;
}

/** What the steps of one operation work with. */
interface Work extends PerformDeps {
  readonly uuid: string;
  /** The domain as it was before the first step. */
  readonly domain: DomainInfo | undefined;
}

/**
 * Perform one operation. The caller holds the VM's lane.
 *
 * @throws VM_BAD_POWER_STATE where the domain is missing, or is there already; OPERATION_NOT_ALLOWED where it is in doubt, as the
 *   VM may run elsewhere; and what the back end throws
 */
export async function perform(deps: PerformDeps, operation: Operation): Promise<void> {
  const uuid = vmOf(operation);
  // The lane is the caller's, so nobody goes on with what is half made.
  await destroyUnfinished(deps, (each) => each === uuid);
  const domain = await findDomain(deps.backend, uuid);
  assertFits(operation, domain);
  if (operation.kind === 'shutdown' && domain === undefined) return deps.suspended.discard(uuid);
  const work: Work = { ...deps, uuid, domain };
  let handle = domain?.handle;
  const done: Atomic[] = [];
  try {
    for (const atomic of plan(operation)) {
      handle = await effect(work, atomic, handle);
      done.push(atomic);
    }
  } catch (error) {
    await undo(work, done, handle);
    throw error;
  }
}

function assertFits(operation: Operation, domain: DomainInfo | undefined): void {
  const uuid = vmOf(operation);
  if (domain?.inDoubt !== undefined) {
    throw new XapiError('OPERATION_NOT_ALLOWED', [`${operation.kind}: VM ${uuid} is in doubt: ${domain.inDoubt}`]);
  }
  if (operation.kind === 'shutdown') return;
  if (operation.kind === 'start' || operation.kind === 'resume') {
    const expected = operation.kind === 'start' ? 'halted' : 'suspended';
    if (domain !== undefined) throw badState(uuid, expected, domain.state);
  } else if (domain === undefined) throw badState(uuid, 'running', 'halted');
  else if (operation.kind === 'suspend' && domain.state !== 'running' && domain.state !== 'paused') {
    throw badState(uuid, 'running', domain.state);
  }
}

/** Undo the steps that were done, the last first, up to one that nothing undoes. */
async function undo(work: Work, done: readonly Atomic[], handle: DomainHandle | undefined): Promise<void> {
  const last = done.findLastIndex(({ kind }) => kind === 'unpause' || kind === 'destroy');
  for (const atomic of done.slice(last + 1).toReversed()) {
    const inverse = undoOf[atomic.kind];
    if ('nothing' in inverse) continue;
    await effect(work, inverse, handle).catch((error: unknown) => {
      work.log.error(`the undo of ${atomic.kind} failed`, { error });
    });
  }
}

/** Do one step. @returns the operation's domain after it */
async function effect(work: Work, atomic: Atomic, handle: DomainHandle | undefined): Promise<DomainHandle> {
  const { backend, suspended, uuid } = work;
  if (atomic.kind === 'create') return backend.create(atomic.spec);
  if (atomic.kind === 'restore') return suspended.restore(uuid);
  if (handle === undefined) throw new XapiError('INTERNAL_ERROR', [`${atomic.kind} without a domain`]);
  switch (atomic.kind) {
    case 'build':
      await backend.build(handle);
      break;
    case 'pause':
      await backend.pause(handle);
      break;
    case 'end-guest':
      await backend.shutDownGuest(handle, work.shutdownTimeoutMs());
      break;
    case 'unpause':
      await backend.unpause(handle, randomUUID());
      break;
    case 'destroy':
      await backend.destroy(handle);
      break;
    case 'save':
      await suspended.save(work.domain as DomainInfo);
      break;
    case 'discard':
      await suspended.discard(uuid);
      break;
  }
  return handle;
}

/**
 * Destroy domains that were begun and never whole, as by a daemon that was killed, or where the undo has failed. They are of no use,
 * and keep memory, and their VM from being started.
 * @param isOurs whether nobody is at work on the domain with this uuid
 */
export async function destroyUnfinished(
  { backend, log }: Pick<PerformDeps, 'backend' | 'log'>,
  isOurs: (uuid: string) => boolean,
): Promise<void> {
  for (const { uuid, handle, state } of await backend.list()) {
    if (state !== 'building' || !isOurs(uuid)) continue;
    log.warn('a domain was never whole, and nobody goes on with it: it is destroyed', { vm: uuid });
    await backend.destroy(handle);
  }
}

/** The domain that has this uuid now. */
export async function findDomain(backend: Backend, uuid: string): Promise<DomainInfo | undefined> {
  return (await backend.list()).find((domain) => domain.uuid === uuid);
}

function badState(uuid: string, expected: string, actual: string): XapiError {
  return new XapiError('VM_BAD_POWER_STATE', [uuid, expected, actual]);
}
