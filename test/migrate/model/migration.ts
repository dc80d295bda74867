/**
 * The model of the migration protocol, put together.
 *
 * Bounds, beside those that the caller sets: one VM; two hosts; two attempts at most, from the same source to the same
 * destination; a call (VM.receive, settle, acknowledge) that was made can arrive any number of times, at any time later, or
 * never, and its answer is lost with the caller; the control channel delivers in order and may break at any moment; each side
 * may fail or give up to wait at any moment. A journal write is one transition, and so is every effect, with a fault possible
 * between any two. A loss of power leaves of a host's journal all, or what was last flushed.
 */
import { destinationSteps } from './destination.js';
import type { Model, Transition } from './explorer.js';
import { attemptFaults, hostSteps } from './faults.js';
import { brokenLemma, hasMigratedAgain, isGoodEnd, mayMigrateAgain, violationOf } from './invariants.js';
import { sourceSteps } from './source.js';
import { type Bounds, copyOf, type Emit, firstState, keyOf, type State } from './state.js';

/** Make the model within bounds. */
export function migrationModel(bounds: Bounds): Model<State> {
  return {
    first: firstState(bounds),
    keyOf,
    transitionsOf: (state) => transitionsOf(bounds, state),
    // A mistake on purpose is followed to where it hurts.
    violationOf: (state) => violationOf(state) ?? (bounds.flaw === undefined ? brokenLemma(state) : undefined),
    isGoodEnd,
    ...(bounds.attempts === 1
      ? {}
      : {
          again: {
            mayBegin: mayMigrateAgain,
            hasSucceeded: hasMigratedAgain,
            otherwise: 'the next migration cannot succeed',
          },
        }),
  };
}

/** Everything that can happen next. */
function transitionsOf(bounds: Bounds, state: State): Transition<State>[] {
  const transitions: Transition<State>[] = [];
  const emitFor = (index: number, prefix: string): Emit => {
    return (kind, label, change) => {
      const next = copyOf(state);
      change(next.attempts[index]!, next);
      transitions.push({ kind, label: prefix + label, next });
    };
  };
  hostSteps(bounds, state, emitFor(0, ''));
  state.attempts.forEach((attempt, index) => {
    const which = bounds.attempts === 1 ? '' : ` ${index + 1}`;
    sourceSteps(bounds, state, attempt, emitFor(index, `source${which}: `));
    destinationSteps(bounds, state, attempt, emitFor(index, `destination${which}: `));
    attemptFaults(bounds, state, attempt, emitFor(index, `attempt${which}: `));
  });
  return transitions;
}
