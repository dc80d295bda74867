/** What goes wrong, what a daemon does when it is started anew, and what an operator settles by force. */
import {
  type Attempt,
  alive,
  type Bounds,
  beforeGoing,
  closeAtDestination,
  closeAtSource,
  type Emit,
  journal,
  type SourceAt,
  type State,
  undecided,
} from './state.js';

/** What befalls a host, and what its daemon does at its start. */
export function hostSteps({ flaw }: Bounds, state: State, emit: Emit): void {
  if (!state.sourceUp) emit('step', "the source's daemon starts", (_a, s) => startSource(s));
  if (!state.destinationUp) emit('step', "the destination's daemon starts", (_a, s) => startDestination(s, flaw));
  if (state.faults === 0) return;
  const fault = (label: string, change: (s: State) => void) => {
    emit('fault', label, (_a, s) => {
      s.faults -= 1;
      change(s);
    });
  };
  if (state.sourceUp) fault("the source's daemon is killed", crashSource);
  if (state.destinationUp) fault("the destination's daemon is killed", crashDestination);
  if (alive(state.copy)) {
    fault("the source's hypervisor is lost", loseSource);
    fault('the source loses power', (s) => losePowerAtSource(s, false));
    fault('the source loses power, and what it had not flushed', (s) => losePowerAtSource(s, true));
  } else if (state.attempts.some(({ row, rowOnDisk }) => row !== rowOnDisk)) {
    fault('the source loses power, and what it had not flushed', (s) => losePowerAtSource(s, true));
  }
  if (state.attempts.some(({ domain, memory }) => alive(domain) || memory)) {
    fault("the destination's hypervisor is lost", loseDestination);
    fault('the destination loses power', (s) => losePowerAtDestination(s, false));
  }
  if (state.attempts.some(({ drow }) => drow !== '-')) {
    fault('the destination loses power, and what it had not flushed', (s) => losePowerAtDestination(s, true));
  }
}

/** What befalls one attempt. */
export function attemptFaults(bounds: Bounds, state: State, attempt: Attempt, emit: Emit): void {
  if (attempt.sourceEnd || attempt.destinationEnd) {
    // Once for each attempt at most, so it needs no bound.
    emit('fault', 'the control channel breaks', (a) => {
      closeAtSource(a);
      closeAtDestination(a);
    });
  }
  words(bounds, state, attempt, emit);
  if (state.sourceUp && attempt.at === 'resume later' && state.copy === 'paused' && state.copyOwn && !state.copyDoubt) {
    emit('begin', 'a user unpauses the VM', (_a, s) => {
      s.copy = 'running';
    });
  }
  if (state.faults === 0) return;
  if (state.sourceUp && attempt.at === 'resume') {
    emit('fault', 'the back end does not resume the VM now', (a, s) => {
      s.faults -= 1;
      a.at = 'resume later';
    });
  }
  if (state.destinationUp && attempt.dAt === 'unpausing' && attempt.domain === 'paused') {
    const next = bounds.flaw === 'the destination sends 4 without knowing that the VM runs' ? '4' : 'look';
    for (const effect of [false, true]) {
      emit('fault', `the back end does not answer to unpause, and ${effect ? 'does' : 'does not do'} it`, (a, s) => {
        s.faults -= 1;
        if (effect && a.ran) a.domain = 'running';
        a.dAt = next;
      });
    }
  }
}

function crashSource(state: State): void {
  state.sourceUp = false;
  for (const attempt of state.attempts) {
    closeAtSource(attempt);
    attempt.answer = '-';
    if (attempt.at !== 'none') attempt.at = 'down';
  }
}

function crashDestination(state: State): void {
  state.destinationUp = false;
  for (const attempt of state.attempts) {
    closeAtDestination(attempt);
    attempt.permission = '-';
    if (attempt.dAt !== 'none') attempt.dAt = 'down';
  }
}

function loseSource(state: State): void {
  if (alive(state.copy)) state.copy = 'lost';
  state.copyDoubt = false;
}

function loseDestination(state: State): void {
  for (const attempt of state.attempts) {
    if (alive(attempt.domain)) attempt.domain = 'lost';
    attempt.doubt = false;
    attempt.memory = false;
  }
}

/** Host, hypervisor and daemon at once. Of the rows everything is left, or only what was flushed. */
function losePowerAtSource(state: State, unflushed: boolean): void {
  crashSource(state);
  loseSource(state);
  for (const attempt of state.attempts) {
    if (unflushed) attempt.row = attempt.rowOnDisk;
    else attempt.rowOnDisk = attempt.row;
    // The VM is gone: a row that never reached the disk was never begun.
    if (attempt.row === '-' && attempt.at === 'down') attempt.at = 'ended';
    if (attempt.row !== 'done' && attempt.row !== 'failed')
      Object.assign(attempt, { acknowledged: false, resumePending: false });
  }
}

function losePowerAtDestination(state: State, unflushed: boolean): void {
  crashDestination(state);
  loseDestination(state);
  for (const attempt of state.attempts) {
    if (unflushed) attempt.drow = attempt.drowOnDisk;
    else attempt.drowOnDisk = attempt.drow;
    if (attempt.drow === '-') attempt.dAt = 'none';
    else attempt.dAt = 'down';
  }
}

function startSource(state: State): void {
  state.sourceUp = true;
  for (const attempt of state.attempts) if (attempt.at === 'down') attempt.at = afterStart(attempt);
}

function afterStart({ row, resumePending, acknowledged }: Attempt): SourceAt {
  if (beforeGoing(row)) return 'resume';
  if (row === 'going') return 'settle';
  if (acknowledged) return 'ended';
  if (row === 'done') return 'clean-up';
  return resumePending ? 'resume' : 'tell';
}

function startDestination(state: State, flaw: Bounds['flaw']): void {
  state.destinationUp = true;
  for (const attempt of state.attempts) {
    const { drow, handle } = attempt;
    const forgets = !handle && flaw === 'a refusal forgets a domain that was not journaled';
    if (attempt.dAt !== 'down') continue;
    if (undecided(drow)) attempt.dAt = 'refuse';
    else if (drow === 'refused') attempt.dAt = forgets ? 'release' : 'clean-up';
    else attempt.dAt = drow === 'done' ? 'ended' : 'look';
  }
}

/**
 * An operator says where the VM goes on, once. `here` assumes that the other host is gone for good when the word becomes durable:
 * its daemon is down and no copy runs there. It may come back all the same. `elsewhere` assumes that it is so.
 */
function words({ flaw }: Bounds, state: State, attempt: Attempt, emit: Emit): void {
  const { sourceUp, destinationUp, copy, attempts } = state;
  if (state.words === 0) return;
  const { at, row, dAt } = attempt;
  if (sourceUp && row === 'going' && (at === 'settle' || at === 'settling')) {
    if (alive(copy) && !destinationUp && attempts.every(({ domain }) => domain !== 'running')) {
      emit('word', 'an operator lets the VM go on at the source', (a, s) => {
        s.words -= 1;
        closeAtSource(a);
        Object.assign(a, { at: 'resume', answer: '-', forced: true });
        if (flaw === 'the source resumes by force before `failed` is durable') return;
        journal(s, a, 'failed', 'powerLoss');
        a.resumePending = true;
      });
    }
    if (attempt.took && attempt.domain === 'running') {
      emit('word', 'an operator says that the VM is at the destination', (a, s) => {
        s.words -= 1;
        closeAtSource(a);
        Object.assign(a, { at: '4', answer: '-', forced: true });
      });
    }
  }
  if (!destinationUp || (dAt !== 'ask' && dAt !== 'asking') || attempt.domain !== 'paused') return;
  if (!sourceUp && copy !== 'running') {
    emit('word', 'an operator lets the VM go on at the destination', (a, s) => {
      s.words -= 1;
      Object.assign(a, { dAt: 'may run', permission: '-', forced: true });
    });
  }
}
