/**
 * The model of a job: a coordinator has a member start a VM that a user may start on another host as soon as it is free. What is done
 * with `src/pool/hosts/jobs.ts` and `src/host/service/jobs.ts` is a transition each, so that a daemon may be killed between any two.
 *
 * Not in it: databases that are restored, hosts of an earlier version, and operations that end a domain.
 */
import type { Kind, Model, Transition } from '../../migrate/model/explorer.js';

/** A VM's domain on a host. `doubt`: paused, and does not run. */
type Domain = '-' | 'paused' | 'running' | 'doubt';

interface State {
  coordinatorUp: boolean;
  memberUp: boolean;
  /** How far the call is; lost with the coordinator. */
  call: '-' | 'begun' | 'noted' | 'waits' | 'answered' | 'brought';
  /** How far a job is of which nobody waits for the answer; lost with the coordinator. */
  open: '-' | 'held' | 'over' | 'brought';
  /** The request is in a connection to the member's daemon that has not read it. */
  onItsWay: boolean;
  /** What the member's daemon knows of the job. */
  job: '-' | 'under way' | 'done' | 'failed' | 'refused';
  here: Domain;
  elsewhere: Domain;
  // Durable at the coordinator
  row: boolean;
  record: 'halted' | 'here' | 'elsewhere';
  /** An operator has given up what the member may have. */
  givenUp: boolean;
  faults: number;
  words: number;
  starts: number;
}

/** Mistakes on purpose, each of which is found. */
export const flaws = {
  'the host is asked before the row is durable': 'two copies run',
  'the row goes before the record is right': 'two copies run',
  'a coordinator that starts anew forgets its rows': 'two copies run',
  'the VM is free when its host answers, though the job goes on': 'two copies run',
  'a host does what it has said that it does not know': 'two copies run',
  'a call outlives the daemon that would have read it': 'two copies run',
  'an operator may settle what a host that answers does': 'two copies run',
  'a job of which the host knows nothing is not over': 'no way to a good end',
} as const;
export type Flaw = keyof typeof flaws;

export interface Bounds {
  /** Daemons that are killed. */
  readonly faults: number;
  readonly words: number;
  readonly flaw?: Flaw;
}

/** Make the model within bounds. */
export function jobModel({ faults, words, flaw }: Bounds): Model<State> {
  const first: State = {
    ...{
      coordinatorUp: true,
      memberUp: true,
      call: '-',
      open: '-',
      onItsWay: false,
      job: '-',
      here: '-',
      elsewhere: '-',
    },
    ...{ row: false, record: 'halted', givenUp: false, faults, words, starts: 2 },
  };
  return {
    first,
    keyOf: (state) => Object.values(state).join(),
    transitionsOf: (state) => transitionsOf(state, flaw),
    violationOf: ({ here, elsewhere }) =>
      here === 'running' && elsewhere === 'running' ? 'two copies run' : undefined,
    isGoodEnd,
  };
}

const isHeld = ({ call, open }: State): boolean => call !== '-' || open !== '-';

/** Nothing is under way or held, and the record is what is there. */
function isGoodEnd(state: State): boolean {
  const { coordinatorUp, memberUp, onItsWay, job, row, record, here, elsewhere } = state;
  if (!coordinatorUp || !memberUp || isHeld(state) || onItsWay || job === 'under way' || row) return false;
  const isHere = here === 'running' || here === 'paused';
  return isHere === (record === 'here') && (elsewhere === 'running') === (record === 'elsewhere');
}

type Emit = (kind: Kind, label: string, change: (state: State) => void) => void;

function transitionsOf(state: State, flaw: Flaw | undefined): Transition<State>[] {
  const transitions: Transition<State>[] = [];
  const emit: Emit = (kind, label, change) => {
    const next = { ...state };
    change(next);
    transitions.push({ kind, label, next });
  };
  if (state.coordinatorUp) {
    userSteps(state, emit);
    callSteps(state, flaw, emit);
    openSteps(state, flaw, emit);
    if (state.memberUp && !isHeld(state)) emit('step', 'the coordinator looks at the member', look);
  }
  memberSteps(state, emit);
  daemonSteps(state, flaw, emit);
  return transitions;
}

function userSteps(state: State, emit: Emit): void {
  if (isHeld(state) || state.record !== 'halted' || state.starts === 0) return;
  if (state.starts === 2) {
    emit('begin', 'a user starts the VM on the member', (s) => {
      s.starts -= 1;
      s.call = 'begun';
    });
    return;
  }
  emit('begin', 'a user starts the VM on another host', (s) => {
    s.starts -= 1;
    s.elsewhere = 'running';
    s.record = 'elsewhere';
  });
}

/** The record follows what the member has. */
function bring(s: State): void {
  if (s.here === 'running' || s.here === 'paused') s.record = 'here';
  else if (s.record === 'here') s.record = 'halted';
}

function callSteps({ call, memberUp, job, onItsWay }: State, flaw: Flaw | undefined, emit: Emit): void {
  const isEarly = flaw === 'the host is asked before the row is durable';
  if (call === 'begun') {
    emit('step', isEarly ? 'the member is asked' : 'the row is written', (s) => {
      s.call = 'noted';
      if (isEarly) s.onItsWay = memberUp;
      else s.row = true;
    });
  }
  if (call === 'noted') {
    emit('step', isEarly ? 'the row is written' : 'the member is asked', (s) => {
      s.call = 'waits';
      if (isEarly) s.row = true;
      else if (memberUp) s.onItsWay = true;
      // Nobody has heard it.
      else s.call = 'brought';
    });
  }
  if (call === 'waits') {
    if (memberUp && !onItsWay && (job === 'done' || job === 'failed'))
      emit('step', 'the answer is here', (s) => {
        s.call = 'answered';
      });
    emit('step', 'there is no answer: the VM stays held', (s) => {
      s.call = '-';
      s.open = 'held';
    });
  }
  const isForgetful = flaw === 'the row goes before the record is right';
  if (call === 'answered' && memberUp)
    emit('step', isForgetful ? 'the row goes' : 'the record is brought to what is there', (s) => {
      s.call = 'brought';
      if (isForgetful) s.row = false;
      else bring(s);
    });
  if (call === 'answered')
    emit('step', 'the member does not say what is there: the VM stays held', (s) => {
      s.call = '-';
      s.open = 'held';
    });
  if (call === 'brought')
    emit('step', 'the row goes, and the VM is free', (s) => {
      s.call = '-';
      s.row = false;
      if (isForgetful && memberUp) bring(s);
    });
}

function openSteps(state: State, flaw: Flaw | undefined, emit: Emit): void {
  const { open, memberUp, job, here, words } = state;
  if (open === 'held' && memberUp) {
    const isUnknown = job === '-' || job === 'refused';
    const isAsLong = flaw === 'a job of which the host knows nothing is not over' && isUnknown;
    const isOver = job !== 'under way' && !isAsLong;
    if (isOver || flaw === 'the VM is free when its host answers, though the job goes on') {
      emit('step', 'the member says that the job is over', (s) => {
        s.open = 'over';
        if (isUnknown && flaw !== 'a host does what it has said that it does not know') s.job = 'refused';
      });
    }
  }
  if (open === 'over') {
    if (memberUp)
      emit('step', 'the record is brought to what is there', (s) => {
        s.open = 'brought';
        bring(s);
      });
    emit('step', 'the member does not say what is there', (s) => {
      s.open = 'held';
    });
  }
  if (open === 'brought')
    emit('step', 'the row goes, and the VM is free', (s) => {
      s.open = '-';
      s.row = false;
    });
  // The word is that the host is gone, and that no copy runs there.
  const isGone = !memberUp && here !== 'running';
  if (open === 'held' && words > 0 && (isGone || flaw === 'an operator may settle what a host that answers does')) {
    emit('word', 'an operator settles the VM: it is halted', (s) => {
      s.words -= 1;
      s.open = '-';
      s.row = false;
      s.record = 'halted';
      s.givenUp = true;
    });
  }
}

/** What is there counts, unless it was given up, or the VM is elsewhere: then it is paused. */
function look(s: State): void {
  if (s.here === 'running' || s.here === 'paused') {
    if (s.record === 'elsewhere' || (s.givenUp && s.record === 'halted')) s.here = 'doubt';
    else s.record = 'here';
  } else bring(s);
}

function memberSteps({ memberUp, onItsWay, job }: State, emit: Emit): void {
  if (!memberUp) return;
  if (onItsWay)
    emit('step', 'the member reads the call', (s) => {
      s.onItsWay = false;
      if (job === '-') s.job = 'under way';
      else s.job = 'failed';
    });
  if (job !== 'under way') return;
  emit('step', 'the member has started the VM', (s) => {
    s.job = 'done';
    if (s.here === '-') s.here = 'running';
  });
  emit('step', 'the member fails to start the VM', (s) => {
    s.job = 'failed';
  });
}

function daemonSteps(state: State, flaw: Flaw | undefined, emit: Emit): void {
  const { coordinatorUp, memberUp, job, faults } = state;
  if (!coordinatorUp)
    emit('step', 'the coordinator starts', (s) => {
      s.coordinatorUp = true;
      if (flaw === 'a coordinator that starts anew forgets its rows') s.row = false;
      if (s.row) s.open = 'held';
    });
  if (!memberUp)
    emit('step', 'the member starts', (s) => {
      s.memberUp = true;
    });
  if (faults === 0) return;
  if (coordinatorUp)
    emit('fault', 'the coordinator is killed', (s) => {
      s.faults -= 1;
      s.coordinatorUp = false;
      s.call = '-';
      s.open = '-';
    });
  if (!memberUp) return;
  const kill = (label: string, here: Domain) =>
    emit('fault', `the member is killed${label}`, (s) => {
      s.faults -= 1;
      s.memberUp = false;
      s.job = '-';
      s.here = here;
      if (flaw !== 'a call outlives the daemon that would have read it') s.onItsWay = false;
    });
  kill('', state.here);
  if (job !== 'under way' || state.here !== '-') return;
  kill(' before the domain has run', 'paused');
  kill(' when the domain runs', 'running');
}
