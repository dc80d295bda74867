/** Do what a plan says, against the back end; when a step fails, undo those before it, the last first. */
import { randomUUID } from 'node:crypto';
import type { Backend } from '../backend/backend.js';
import { XapiError } from '../base/errors.js';
import type { DomainHandle, DomainInfo } from '../base/hypervisor-protocol.js';
import type { Log } from '../base/log.js';
import { type Operation, vmOf } from './operations.js';
import { type Atomic, plan, undoOf } from './plan.js';

/**
 * Perform one operation. The caller holds the VM's lane.
 *
 * @throws VM_BAD_POWER_STATE where the domain is missing, or is there already; and what the back end throws
 */
export async function perform(backend: Backend, operation: Operation, log: Log): Promise<void> {
  const uuid = vmOf(operation);
  const existing = await findDomain(backend, uuid);
  if (operation.kind === 'start' && existing !== undefined) throw badState(uuid, 'halted', existing.state);
  if (operation.kind === 'shutdown' && existing === undefined) return;
  if (operation.kind !== 'start' && existing === undefined) throw badState(uuid, 'running', 'halted');
  let handle = existing?.handle;
  const done: Atomic[] = [];
  try {
    for (const atomic of plan(operation)) {
      handle = await effect(backend, atomic, handle);
      done.push(atomic);
    }
  } catch (error) {
    await undo(backend, done, handle, log);
    throw error;
  }
}

async function undo(
  backend: Backend,
  done: readonly Atomic[],
  handle: DomainHandle | undefined,
  log: Log,
): Promise<void> {
  for (const atomic of done.toReversed()) {
    const inverse = undoOf[atomic.kind];
    if ('nothing' in inverse) continue;
    await effect(backend, inverse, handle).catch((error: unknown) => {
      log.error(`the undo of ${atomic.kind} failed`, { err: error });
    });
  }
}

async function effect(backend: Backend, atomic: Atomic, handle: DomainHandle | undefined): Promise<DomainHandle> {
  if (atomic.kind === 'create') return backend.create(atomic.spec);
  if (handle === undefined) throw new XapiError('INTERNAL_ERROR', [`${atomic.kind} without a domain`]);
  switch (atomic.kind) {
    case 'build':
      await backend.build(handle);
      break;
    case 'pause':
      await backend.pause(handle);
      break;
    case 'unpause':
      await backend.unpause(handle, randomUUID());
      break;
    case 'destroy':
      await backend.destroy(handle);
      break;
  }
  return handle;
}

/** The domain that has this uuid now. */
export async function findDomain(backend: Backend, uuid: string): Promise<DomainInfo | undefined> {
  return (await backend.list()).find((domain) => domain.uuid === uuid);
}

function badState(uuid: string, expected: string, actual: string): XapiError {
  return new XapiError('VM_BAD_POWER_STATE', [uuid, expected, actual]);
}
