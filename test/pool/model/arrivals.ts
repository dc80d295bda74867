/**
 * The model of an arrival: a VM that runs in another pool is to come to a member of this one, whose coordinator makes its record, holds
 * it, and lets go of it or removes it when the migration has its outcome. What is done with `src/pool/migration/arrivals.ts` is a
 * transition each, so that a daemon may be killed between any two. How the two hosts come to one outcome is the other model's: here
 * that is one step, which the member's journal has.
 */
import type { Kind, Model, Transition } from '../../migrate/model/explorer.js';

interface State {
  coordinatorUp: boolean;
  memberUp: boolean;
  /** How far VM.receive is; lost with the coordinator. */
  call: '-' | 'begun' | 'noted' | 'made' | 'waits' | 'replied' | 'answered';
  /** How far the end of the arrival is; lost with the coordinator. */
  end: '-' | 'taken' | 'refused' | 'removed';
  /** The request is in a connection to the member's daemon that has not read it. */
  onItsWay: boolean;
  /** The source has the reply, without which it sends nothing. */
  agreed: boolean;
  source: 'running' | 'gone';
  // Durable at the member
  fate: '-' | 'open' | 'taken' | 'refused';
  // Durable at the coordinator
  row: '-' | 'asked' | 'answered';
  record: '-' | 'halted' | 'running';
  /** The VM runs where a user has started it from its record. */
  started: boolean;
  faults: number;
  words: number;
}

/** Mistakes on purpose, each of which is found. */
export const flaws = {
  'the record is made before the row that holds it': 'two copies run',
  'the row goes before the record': 'two copies run',
  'an operator frees the record of a VM that has not come': 'two copies run',
  'what was answered is removed as if its host had never heard of it': 'the VM has no record',
  'a host takes what it has said that it does not know': 'no way to a good end',
  'a coordinator that starts anew does not ask what became of it': 'no way to a good end',
} as const;
export type Flaw = keyof typeof flaws;

export interface Bounds {
  /** Daemons that are killed. */
  readonly faults: number;
  readonly words: number;
  readonly flaw?: Flaw;
}

/** Make the model within bounds. */
export function arrivalModel({ faults, words, flaw }: Bounds): Model<State> {
  const first: State = {
    ...{ coordinatorUp: true, memberUp: true, call: 'begun', end: '-', onItsWay: false, agreed: false },
    ...{ source: 'running', fate: '-', row: '-', record: '-', started: false, faults, words },
  };
  return {
    first,
    keyOf: (state) => Object.values(state).join(),
    transitionsOf: (state) => transitionsOf(state, flaw),
    violationOf,
    isGoodEnd,
  };
}

function violationOf({ source, fate, started, row, record, words }: State): string | undefined {
  const copies = Number(source === 'running') + Number(fate === 'taken') + Number(started);
  if (copies > 1) return 'two copies run';
  // An operator may have given it up, of a host that was gone.
  return fate === 'taken' && row === '-' && record === '-' && words > 0 ? 'the VM has no record' : undefined;
}

/** Nothing is held, and the record is there where the VM is; one that was given up may be there without. */
function isGoodEnd(state: State): boolean {
  const { coordinatorUp, memberUp, call, end, onItsWay, row, record, fate, words } = state;
  if (!coordinatorUp || !memberUp || call !== '-' || end !== '-' || onItsWay || row !== '-') return false;
  if (fate === 'taken') return record === 'running' || (record === '-' && words === 0);
  return fate !== 'open' && record === '-';
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
    callSteps(state, flaw, emit);
    endSteps(state, flaw, emit);
    if (state.record === 'halted' && state.row === '-' && state.call === '-' && state.end === '-')
      emit('begin', 'a user starts the VM from its record', (s) => {
        s.started = true;
        s.record = 'running';
      });
  }
  hostSteps(state, flaw, emit);
  daemonSteps(state, emit);
  return transitions;
}

function callSteps({ call, memberUp, onItsWay, fate }: State, flaw: Flaw | undefined, emit: Emit): void {
  const isEarly = flaw === 'the record is made before the row that holds it';
  if (call === 'begun' || call === 'noted') {
    const isRow = (call === 'begun') !== isEarly;
    emit('step', isRow ? 'the row is written' : 'the record is made', (s) => {
      s.call = call === 'begun' ? 'noted' : 'made';
      if (isRow) s.row = 'asked';
      else s.record = 'halted';
    });
  }
  const fail = (s: State) => {
    s.call = '-';
    s.end = 'refused';
  };
  if (call === 'made' && memberUp)
    emit('step', 'the member is asked', (s) => {
      s.call = 'waits';
      s.onItsWay = true;
    });
  if (call === 'made' && !memberUp) emit('step', 'the member is not reached', fail);
  if (call === 'waits') {
    if (memberUp && !onItsWay && fate === 'open')
      emit('step', 'the reply of the member is here', (s) => {
        s.call = 'replied';
      });
    // Its reply never comes to the source, so the member's own end of it is a refusal.
    emit('step', 'there is no reply', fail);
  }
  if (call === 'replied')
    emit('step', 'the row says that the member has answered', (s) => {
      s.call = 'answered';
      s.row = 'answered';
    });
  if (call === 'answered')
    emit('step', 'the source has the reply', (s) => {
      s.call = '-';
      s.agreed = true;
    });
}

function endSteps(state: State, flaw: Flaw | undefined, emit: Emit): void {
  const { call, end, row, memberUp, fate, words } = state;
  const isIdle = call === '-' && end === '-' && row !== '-';
  const isSilent = flaw === 'a coordinator that starts anew does not ask what became of it';
  if (isIdle && memberUp && (fate === 'taken' || fate === 'refused') && !isSilent)
    emit('step', 'the member says what became of it', (s) => {
      s.end = fate;
    });
  const isRefusable = row === 'asked' || flaw === 'what was answered is removed as if its host had never heard of it';
  if (isIdle && memberUp && isRefusable && !isSilent && (fate === '-' || row === 'answered'))
    emit('step', 'the member refuses from now on what it does not know', (s) => {
      s.end = 'refused';
      if (fate === '-' && flaw !== 'a host takes what it has said that it does not know') s.fate = 'refused';
    });
  if (end === 'taken')
    emit('step', 'the record is brought to the VM, and free', (s) => {
      s.record = 'running';
      s.row = '-';
      s.end = '-';
    });
  const isEarly = flaw === 'the row goes before the record';
  if (end === 'refused' || end === 'removed') {
    const isRecord = (end === 'refused') !== isEarly;
    emit('step', isRecord ? 'the record goes' : 'the row goes', (s) => {
      s.end = end === 'refused' ? 'removed' : '-';
      if (isRecord) s.record = '-';
      else s.row = '-';
    });
  }
  if (isIdle && words > 0 && !memberUp)
    emit('word', 'an operator settles the VM', (s) => {
      s.words -= 1;
      if (flaw === 'an operator frees the record of a VM that has not come') s.row = '-';
      else s.end = 'refused';
    });
}

function hostSteps(
  { memberUp, onItsWay, fate, agreed, source, call }: State,
  flaw: Flaw | undefined,
  emit: Emit,
): void {
  if (!memberUp) return;
  if (onItsWay)
    emit('step', 'the member reads the call', (s) => {
      s.onItsWay = false;
      if (fate === '-') s.fate = 'open';
    });
  if (fate !== 'open') return;
  if (agreed && source === 'running')
    emit('step', 'the VM comes', (s) => {
      s.fate = 'taken';
      s.source = 'gone';
    });
  // Whom it has not told waits for its reply.
  if (call !== 'waits' && call !== 'replied' && flaw !== 'a host takes what it has said that it does not know')
    emit('step', 'the VM does not come', (s) => {
      s.fate = 'refused';
    });
}

function daemonSteps({ coordinatorUp, memberUp, faults, fate }: State, emit: Emit): void {
  if (!coordinatorUp)
    emit('step', 'the coordinator starts', (s) => {
      s.coordinatorUp = true;
      // A row without a record.
      if (s.record === '-') s.row = '-';
    });
  if (!memberUp)
    emit('step', 'the member starts', (s) => {
      s.memberUp = true;
      if (fate === 'open') s.fate = 'refused';
    });
  if (faults === 0) return;
  if (coordinatorUp)
    emit('fault', 'the coordinator is killed', (s) => {
      s.faults -= 1;
      s.coordinatorUp = false;
      s.call = '-';
      s.end = '-';
    });
  if (memberUp)
    emit('fault', 'the member is killed', (s) => {
      s.faults -= 1;
      s.memberUp = false;
      s.onItsWay = false;
    });
}
