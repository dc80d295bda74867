/**
 * The explorer: visits every state that a model can reach, breadth first, so that the trace of what it finds is a shortest one.
 *
 * That a state can be left for a good end is looked for backwards from the good ends, along steps without faults: a system
 * that takes every step again and again that stays possible comes to a good end then, whatever came before.
 */

/**
 * What a transition is: a step of a daemon or of the network (so are giving up to wait, and the start of a daemon that is down);
 * the begin of an attempt by a user; a word of an operator; a fault.
 */
export type Kind = 'step' | 'begin' | 'word' | 'fault';

export interface Transition<S> {
  readonly kind: Kind;
  readonly label: string;
  readonly next: S;
}

export interface Model<S> {
  readonly first: S;
  /** Equal for equal states, and only for these. */
  readonly keyOf: (state: S) => string;
  /** Everything that can happen next. */
  readonly transitionsOf: (state: S) => Transition<S>[];
  /** What must never be, where it is so. */
  readonly violationOf: (state: S) => string | undefined;
  readonly isGoodEnd: (state: S) => boolean;
  /** From each state where one may begin again, begins and steps lead to one where that has succeeded. */
  readonly again?: {
    readonly mayBegin: (state: S) => boolean;
    readonly hasSucceeded: (state: S) => boolean;
    /** What is wrong where they do not. */
    readonly otherwise: string;
  };
}

export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  readonly goodEnds: number;
  /** The first that was found: what is wrong, and the shortest way there. */
  readonly violation?: { readonly what: string; readonly trace: readonly string[] };
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
  readonly mayBegin: number[];
  readonly succeeded: number[];
  transitions: number;
}

interface Edges {
  readonly from: number[];
  readonly to: number[];
}

/** Visit every state, and stop at the first violation. */
export function explore<S>(model: Model<S>): Exploration {
  const found: Found = {
    ...{ numbers: new Map(), parents: [], labels: [], transitions: 0 },
    ...{ steps: { from: [], to: [] }, begins: { from: [], to: [] }, good: [], mayBegin: [], succeeded: [] },
  };
  const what = visitAll(model, found);
  const summary = { states: found.parents.length, transitions: found.transitions, goodEnds: found.good.length };
  const bad = what === undefined ? withoutGoodEnd(model, found) : { what, state: found.parents.length - 1 };
  return bad === undefined ? summary : { ...summary, violation: { what: bad.what, trace: traceTo(found, bad.state) } };
}

/** @returns what is wrong with the state that was found last */
function visitAll<S>(model: Model<S>, found: Found): string | undefined {
  let frontier: { state: S; number: number }[] = [];
  const add = (state: S, parent: number, label: string): number => {
    const key = model.keyOf(state);
    const known = found.numbers.get(key);
    if (known !== undefined) return known;
    const number = found.parents.length;
    found.numbers.set(key, number);
    found.parents.push(parent);
    found.labels.push(label);
    if (model.isGoodEnd(state)) found.good.push(number);
    if (model.again?.mayBegin(state)) found.mayBegin.push(number);
    if (model.again?.hasSucceeded(state)) found.succeeded.push(number);
    frontier.push({ state, number });
    return number;
  };
  add(model.first, -1, '');
  while (frontier.length > 0) {
    const level = frontier;
    frontier = [];
    for (const { state, number } of level) {
      for (const { kind, label, next } of model.transitionsOf(state)) {
        const before = found.parents.length;
        const to = add(next, number, label);
        const what = to === before ? model.violationOf(next) : undefined;
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

function withoutGoodEnd<S>({ again }: Model<S>, { steps, begins, good, mayBegin, succeeded, parents }: Found) {
  const stuck = backwards(parents.length, good, [steps]).indexOf(0);
  if (stuck !== -1) return { what: 'no way to a good end', state: stuck };
  if (again === undefined) return undefined;
  const reached = backwards(parents.length, succeeded, [steps, begins]);
  const state = mayBegin.find((number) => reached[number] === 0);
  return state === undefined ? undefined : { what: again.otherwise, state };
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
