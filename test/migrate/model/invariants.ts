/** What has to hold in every state, and what a good end is. */
import { type Attempt, alive, type State } from './state.js';

/** @returns what must never be */
export function violationOf({ copy, attempts }: State): string | undefined {
  const running = [copy, ...attempts.map(({ domain }) => domain)].filter((domain) => domain === 'running');
  if (running.length > 1) return 'two copies run';
  if (vmIsLost(copy, attempts)) return 'the VM is lost';
  const early = ({ domain, drow }: Attempt) =>
    domain === 'destroyed' && (drow === 'taken' || drow === 'unpausing' || drow === 'done');
  return attempts.some(early) ? 'a copy is destroyed before `refused` is durable' : undefined;
}

/** @returns what the argument in docs/safety.md builds on, and does not hold */
export function brokenLemma({ attempts }: State): string | undefined {
  for (const { row, domain, took, forced } of attempts) {
    if (row === 'done' && !took) return 'the source is done with what was never taken';
    if (row === 'failed' && took && !forced) return 'the source has failed what was taken';
    if (domain === 'running' && !took) return 'the destination runs what it has not taken';
  }
  return undefined;
}

/** There is no copy any more that holds the VM, and no hypervisor took one with it. */
function vmIsLost(copy: State['copy'], attempts: readonly Attempt[]): boolean {
  if (copy === 'paused' || copy === 'running' || copy === 'lost') return false;
  return !attempts.some(
    ({ took, domain }) => took && (domain === 'lost' || domain === 'paused' || domain === 'running'),
  );
}

/** Everything has ended, nothing is left over, and the VM runs once, or its hypervisor was lost with it. */
export function isGoodEnd(state: State): boolean {
  const { sourceUp, destinationUp, copy, copyOwn, copyDoubt, attempts } = state;
  if (!sourceUp || !destinationUp || !attempts.every(hasEnded)) return false;
  if (alive(copy) && (!copyOwn || copyDoubt)) return false;
  const left = [copy, ...attempts.map(({ domain }) => domain)].filter(alive);
  return left.length === 0 || (left.length === 1 && left[0] === 'running');
}

function hasEnded(attempt: Attempt): boolean {
  const { at, row, acknowledged, dAt, drow, domain, own, doubt, memory } = attempt;
  const atSource =
    at === 'none' || (at === 'ended' && (row === '-' || (acknowledged && (row === 'done' || row === 'failed'))));
  const atDestination = dAt === 'none' || (dAt === 'ended' && (drow === 'done' || drow === 'refused'));
  return atSource && atDestination && !memory && !(alive(domain) && (!own || doubt));
}

/** The VM is at the source, nothing is left of an earlier attempt, and there may be one more. */
export function mayMigrateAgain(state: State): boolean {
  const last = state.attempts.at(-1)!;
  return isGoodEnd(state) && state.copy === 'running' && last.at === 'none' && state.attempts[0]!.at === 'ended';
}

/** The last attempt has succeeded. */
export function hasMigratedAgain(state: State): boolean {
  return isGoodEnd(state) && state.attempts.at(-1)!.domain === 'running';
}
