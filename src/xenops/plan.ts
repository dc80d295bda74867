/** How an operation is done: the steps, in order, and what undoes each. Pure. */
import type { DomainSpec } from '../base/hypervisor-protocol.js';
import type { Operation } from './operations.js';

/** A step that is done as a whole or not at all. All but `create` are about the operation's domain. */
export type Atomic =
  | { readonly kind: 'create'; readonly spec: DomainSpec }
  | { readonly kind: 'build' }
  | { readonly kind: 'pause' }
  | { readonly kind: 'unpause' }
  | { readonly kind: 'destroy' };

/** What undoes a step when a later one fails, or why nothing does. */
export const undoOf: Readonly<Record<Atomic['kind'], Atomic | { readonly nothing: string }>> = {
  create: { kind: 'destroy' },
  build: { nothing: 'the domain is destroyed with its content' },
  pause: { kind: 'unpause' },
  unpause: { nothing: 'it is the last step of every plan' },
  destroy: { nothing: 'a domain that is gone stays so' },
};

/** The steps of an operation. */
export function plan(operation: Operation): readonly Atomic[] {
  switch (operation.kind) {
    case 'start':
      return [
        { kind: 'create', spec: operation.spec },
        { kind: 'build' },
        ...(operation.paused ? [] : [{ kind: 'unpause' } as const]),
      ];
    case 'pause':
      return [{ kind: 'pause' }];
    case 'unpause':
      return [{ kind: 'unpause' }];
    case 'shutdown':
      return operation.clean ? [{ kind: 'pause' }, { kind: 'destroy' }] : [{ kind: 'destroy' }];
  }
}
