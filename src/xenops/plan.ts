/** How an operation is done: the steps, in order, and what undoes each. Pure. */
import type { DomainSpec } from '../base/domain.js';
import type { Operation } from './operations.js';

/** A step that is done as a whole or not at all. All but `create` and `restore` are about the operation's domain. */
export type Atomic =
  | { readonly kind: 'create'; readonly spec: DomainSpec }
  | { readonly kind: 'build' }
  | { readonly kind: 'pause' }
  /** Let the guest shut down. */
  | { readonly kind: 'end-guest' }
  | { readonly kind: 'unpause' }
  | { readonly kind: 'destroy' }
  /** Pause the domain, and save it into a suspend image. */
  | { readonly kind: 'save' }
  /** Make a paused domain of the suspend image, which stays. */
  | { readonly kind: 'restore' }
  /** Remove the suspend image: from here on the domain is the VM, or nothing is. */
  | { readonly kind: 'discard' };

/**
 * The step that undoes a step when a later one fails, or why nothing does. Steps before `unpause` and `destroy` are not undone
 * after these.
 */
export const undoOf: Readonly<Record<Atomic['kind'], Atomic | { readonly nothing: string }>> = {
  create: { kind: 'destroy' },
  build: { nothing: 'the domain is destroyed with its content' },
  pause: { kind: 'unpause' },
  'end-guest': { kind: 'unpause' },
  unpause: { nothing: 'what runs is let run' },
  destroy: { nothing: 'a domain that is gone stays so' },
  save: { nothing: 'the image is whole; the domain counts for as long as it is there' },
  restore: { kind: 'destroy' },
  discard: { nothing: 'an image that was to go is of no use' },
};

/** The steps of an operation. */
export function plan(operation: Operation): readonly Atomic[] {
  switch (operation.kind) {
    case 'start':
      return [...boot(operation.spec), { kind: 'discard' }, ...run(operation.paused)];
    case 'pause':
      return [{ kind: 'pause' }];
    case 'unpause':
      return [{ kind: 'discard' }, { kind: 'unpause' }];
    case 'shutdown':
      return [...end(operation.clean), { kind: 'discard' }];
    case 'reboot':
      return [...end(operation.clean), ...boot(operation.spec), ...run(false)];
    case 'suspend':
      return [{ kind: 'save' }, { kind: 'destroy' }];
    case 'resume':
      return [{ kind: 'restore' }, ...run(operation.paused), { kind: 'discard' }];
  }
}

function boot(spec: DomainSpec): Atomic[] {
  return [{ kind: 'create', spec }, { kind: 'build' }];
}

function run(paused: boolean): Atomic[] {
  return paused ? [] : [{ kind: 'unpause' }];
}

function end(clean: boolean): Atomic[] {
  return clean ? [{ kind: 'end-guest' }, { kind: 'destroy' }] : [{ kind: 'destroy' }];
}
