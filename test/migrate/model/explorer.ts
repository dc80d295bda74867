/**
 * The explorer: visits every state that the model of the migration protocol can reach, breadth first, so that the trace of what
 * it finds is a shortest one.
 *
 * Bounds, beside those that the caller sets: one VM; two hosts; two attempts at most, from the same source to the same
 * destination; a call (VM.receive, settle, acknowledge) that was made can arrive any number of times, at any time later, or
 * never, and its answer is lost with the caller; the control channel delivers in order and may break at any moment; each side
 * may fail or give up to wait at any moment. A journal write is one transition, and so is every effect, with a fault possible
 * between any two. A loss of power leaves of a host's journal all, or what was last flushed.
 *
 * That a state can be left for a good end is looked for backwards from the good ends, along steps without faults: a system
 * that takes every step again and again that stays possible comes to a good end then, whatever came before.
 */
import { destinationSteps } from './destination.js';
import { attemptFaults, hostSteps } from './faults.js';
import { brokenLemma, hasMigratedAgain, isGoodEnd, mayMigrateAgain, violationOf } from './invariants.js';
import { sourceSteps } from './source.js';
import { type Bounds, copyOf, type Emit, firstState, type Kind, keyOf, type State } from './state.js';

export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  readonly goodEnds: number;
  /** The first that was found: what is wrong, and the shortest way there. */
  readonly violation?: { readonly what: string; readonly trace: readonly string[] };
}

interface Transition {
  readonly kind: Kind;
  readonly label: string;
  readonly next: State;
}

/** Everything that can happen next. */
function transitionsOf(bounds: Bounds, state: State): Transition[] {
  const transitions: Transition[] = [];
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

/** What is known of the states, by their number in the order in which they were found. */
interface Found {
  readonly numbers: Map<string, number>;
  /** From where each was found first, and by what. */
  readonly parents: number[];
  readonly labels: string[];
  /** Steps without faults, and begins of attempts: from, to. */
  readonly steps: Edges;
  readonly begins: Edges;
  readonly good: number[];
  readonly movable: number[];
  readonly moved: number[];
  transitions: number;
}

interface Edges {
  readonly from: number[];
  readonly to: number[];
}

/** Visit every state within the bounds, and stop at the first violation. */
export function explore(bounds: Bounds): Exploration {
  const found: Found = {
    ...{ numbers: new Map(), parents: [], labels: [], transitions: 0 },
    ...{ steps: { from: [], to: [] }, begins: { from: [], to: [] }, good: [], movable: [], moved: [] },
  };
  const what = visitAll(bounds, found);
  const summary = { states: found.parents.length, transitions: found.transitions, goodEnds: found.good.length };
  const bad = what === undefined ? withoutGoodEnd(bounds, found) : { what, state: found.parents.length - 1 };
  return bad === undefined ? summary : { ...summary, violation: { what: bad.what, trace: traceTo(found, bad.state) } };
}

/** @returns what is wrong with the state that was found last */
function visitAll(bounds: Bounds, found: Found): string | undefined {
  let frontier: { state: State; number: number }[] = [];
  const add = (state: State, parent: number, label: string): number => {
    const key = keyOf(state);
    const known = found.numbers.get(key);
    if (known !== undefined) return known;
    const number = found.parents.length;
    found.numbers.set(key, number);
    found.parents.push(parent);
    found.labels.push(label);
    if (isGoodEnd(state)) found.good.push(number);
    if (mayMigrateAgain(state)) found.movable.push(number);
    if (hasMigratedAgain(state)) found.moved.push(number);
    frontier.push({ state, number });
    return number;
  };
  // A mistake on purpose is followed to where it hurts.
  const lemma = bounds.flaw === undefined ? brokenLemma : () => undefined;
  add(firstState(bounds), -1, '');
  while (frontier.length > 0) {
    const level = frontier;
    frontier = [];
    for (const { state, number } of level) {
      for (const { kind, label, next } of transitionsOf(bounds, state)) {
        const before = found.parents.length;
        const to = add(next, number, label);
        const what = to === before ? (violationOf(next) ?? lemma(next)) : undefined;
        if (what !== undefined) return what;
        found.transitions += 1;
        const edges = kind === 'step' ? found.steps : kind === 'begin' ? found.begins : undefined;
        edges?.from.push(number);
        edges?.to.push(to);
      }
    }
  }
  return undefined;
}

function withoutGoodEnd(bounds: Bounds, { steps, begins, good, movable, moved, parents }: Found) {
  const ends = backwards(parents.length, good, [steps]);
  const stuck = ends.indexOf(0);
  if (stuck !== -1) return { what: 'no way to a good end', state: stuck };
  if (bounds.attempts === 1) return undefined;
  const again = backwards(parents.length, moved, [steps, begins]);
  const state = movable.find((number) => again[number] === 0);
  return state === undefined ? undefined : { what: 'the next migration cannot succeed', state };
}

/** From which states some of `targets` are reached. */
function backwards(count: number, targets: readonly number[], edges: readonly Edges[]): Uint8Array {
  const starts = new Uint32Array(count + 2);
  for (const { to } of edges) for (const state of to) starts[state + 2]! += 1;
  for (let state = 2; state < starts.length; state += 1) starts[state]! += starts[state - 1]!;
  const sources = new Uint32Array(starts[count + 1]!);
  for (const { from, to } of edges) {
    to.forEach((state, at) => {
      sources[starts[state + 1]!++] = from[at]!;
    });
  }
  const reached = new Uint8Array(count);
  const open = [...targets];
  for (const state of open) reached[state] = 1;
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    for (let at = starts[state]!; at < starts[state + 1]!; at += 1) {
      const source = sources[at]!;
      if (reached[source] === 0) {
        reached[source] = 1;
        open.push(source);
      }
    }
  }
  return reached;
}

function traceTo({ parents, labels }: Found, state: number): string[] {
  const trace: string[] = [];
  for (let at = state; parents[at] !== -1; at = parents[at]!) trace.unshift(labels[at]!);
  return trace;
}
