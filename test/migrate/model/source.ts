/** What the source does next: one journal write, or one effect, at a time. Mirrors migrate/source: phases.ts, outcome.ts and recovery.ts. */
import {
  type Attempt,
  alive,
  type Bounds,
  beforeGoing,
  closeAtSource,
  type Emit,
  journal,
  rest,
  type SourceAt,
  type State,
  sendToDestination,
} from './state.js';

/** Where a failure or a cancel ends in `abandon`. */
const stoppable: readonly SourceAt[] = [
  ...(['prepare', 'prepared', 'connect', '1', 'copy', 'copying', 'suspend', 'last round', '2'] as const),
  ...(['2-restored', 'going'] as const),
];

/** What is waited for, and where the source goes on when it waits no more. */
const waits: Partial<Record<SourceAt, SourceAt>> = {
  run: 'settle',
  settling: 'settle',
  telling: 'tell',
  acknowledging: 'acknowledge',
};

/** Whether an attempt holds the VM's lane. What goes on in the background does not. */
function holdsLane({ at }: Attempt): boolean {
  const background: readonly SourceAt[] = [
    ...(['none', 'resume later', 'settle', 'settling', 'tell', 'telling', 'acknowledge', 'acknowledging'] as const),
    ...(['ended', 'down'] as const),
  ];
  return !background.includes(at);
}

export function sourceSteps(bounds: Bounds, state: State, attempt: Attempt, emit: Emit): void {
  if (!state.sourceUp) return;
  const { flaw } = bounds;
  begin(bounds, state, attempt, emit);
  phases(bounds, state, attempt, emit);
  answers(bounds, attempt, emit);
  outcome(bounds, state, attempt, emit);
  recover(state, attempt, emit);
  if (stoppable.includes(attempt.at)) {
    emit('step', 'fails, waits no more, or is cancelled', (a) => go(a, 'abandon'));
  }
  const hasty = attempt.at === 'settling' && flaw === 'the source resumes when settle has no answer, or `unknown`';
  const next = hasty ? 'refused' : waits[attempt.at];
  if (next !== undefined) emit('step', 'waits no more', (a) => go(a, next));
}

function go(attempt: Attempt, at: SourceAt): void {
  attempt.at = at;
  attempt.answer = '-';
}

/** A second attempt comes when the first has failed; before it has, it is refused. */
function begin({ flaw }: Bounds, state: State, attempt: Attempt, emit: Emit): void {
  const { copy, copyOwn, copyDoubt, attempts } = state;
  const earlier = attempts.slice(0, attempts.indexOf(attempt));
  const over = ({ row, resumePending, at }: Attempt) =>
    (row === 'failed' && !resumePending && at !== 'down') ||
    (flaw === 'a second attempt begins while the first is still to be undone' && at === 'resume later');
  if (attempt.at !== 'none' || !earlier.every(over) || !copyOwn || copyDoubt) return;
  if (copy !== 'running' && copy !== 'paused') return;
  emit('begin', 'journals `preparing`', (a, s) => {
    a.ran = s.copy === 'running';
    journal(s, a, 'preparing');
    go(a, 'prepare');
  });
}

function phases({ restoredAck, flaw }: Bounds, { copy }: State, { at, toSource }: Attempt, emit: Emit): void {
  const swapped = flaw === 'the source sends 3 before `going` is durable';
  if (at === 'prepare') {
    emit('step', 'calls VM.receive', (a) => {
      a.receiveSent = true;
      go(a, 'prepared');
    });
  } else if (at === 'connect') {
    emit('step', 'opens the control channel', (a) => {
      a.sourceEnd = true;
      a.destinationEnd = true;
      go(a, '1');
    });
  } else if ((at === '1' || at === '2-restored' || at === 'run') && toSource !== '') {
    const point = at === 'run' ? '4' : at;
    const success = at === '1' ? 'copy' : at === 'run' ? '4' : 'going';
    const failure = at === 'run' ? 'settle' : 'abandon';
    const label = toSource.startsWith('S') ? `takes a Success for ${point}` : 'hears an Error';
    emit('step', label, (a) => {
      a.toSource = rest(a.toSource);
      go(a, toSource.startsWith('S') ? success : failure);
    });
  } else if (at === 'copy') {
    emit('step', 'journals `copying`', (a, s) => {
      journal(s, a, 'copying');
      go(a, 'copying');
    });
  } else if (at === 'copying') {
    emit('step', 'journals `suspended`', (a, s) => {
      journal(s, a, 'suspended');
      go(a, 'suspend');
    });
  } else if (at === 'suspend' && alive(copy)) {
    emit('step', 'pauses the VM', (a, s) => {
      s.copy = 'paused';
      go(a, 'last round');
    });
  } else if (at === 'last round' && alive(copy)) {
    emit('step', 'ends the image', (a) => {
      a.image = a.destinationEnd;
      go(a, '2');
    });
  } else if (at === '2' && alive(copy)) {
    emit('step', '2: renames the old copy', (a, s) => {
      s.copyOwn = false;
      go(a, restoredAck ? '2-restored' : 'going');
    });
  } else if (at === (swapped ? '3' : 'going')) {
    emit('step', 'journals `going`', (a, s) => {
      journal(s, a, 'going', 'powerLoss');
      go(a, swapped ? 'run' : '3');
    });
  } else if (at === (swapped ? 'going' : '3')) {
    emit('step', 'sends 3', (a) => {
      sendToDestination(a, 'S');
      go(a, swapped ? '3' : 'run');
    });
  }
}

/** What comes back from the destination's RPC. */
function answers({ flaw }: Bounds, { at, answer }: Attempt, emit: Emit): void {
  if (answer === '-') return;
  const next = (to: SourceAt) => emit('step', `hears \`${answer}\``, (a) => go(a, to));
  if (at === 'prepared' && answer === 'agreed') {
    emit('step', 'hears the reply of VM.receive', (a) => {
      a.agreed = true;
      go(a, 'connect');
    });
  } else if (at === 'prepared') next('abandon');
  else if (at === 'settling' && answer === 'taken') next('4');
  else if (at === 'settling' && answer === 'refused') next('refused');
  else if (at === 'settling') {
    next(flaw === 'the source resumes when settle has no answer, or `unknown`' ? 'refused' : 'settle');
  } else if (at === 'telling') next('acknowledge');
  else if (at === 'acknowledging') {
    emit('step', 'has told the destination', (a) => {
      a.acknowledged = true;
      go(a, 'ended');
    });
  }
}

function outcome({ flaw }: Bounds, state: State, attempt: Attempt, emit: Emit): void {
  const { at } = attempt;
  if (at === 'settle' || at === 'settling') doubt(state, emit);
  if (at === 'settle') {
    emit('step', 'calls settle', (a) => {
      closeAtSource(a);
      a.settleSent = true;
      go(a, 'settling');
    });
  } else if (at === '4') {
    const weak = flaw === 'the source acknowledges before `done` outlives a loss of power';
    emit('step', 'journals `done`', (a, s) => {
      closeAtSource(a);
      journal(s, a, 'done', weak ? undefined : 'powerLoss');
      go(a, 'clean-up');
    });
  } else if (at === 'clean-up') {
    emit('step', 'destroys the old copy', (a, s) => {
      if (alive(s.copy)) s.copy = 'destroyed';
      go(a, 'acknowledge');
    });
  } else if (at === 'refused') {
    const early = flaw === 'the source acknowledges a refusal before `failed` is durable';
    emit('step', 'journals `failed`', (a, s) => {
      journal(s, a, 'failed', 'powerLoss');
      a.resumePending = true;
      go(a, 'resume');
    });
    if (early)
      emit('step', 'calls acknowledge', (a) => {
        a.acknowledgeSent = true;
      });
  } else if (at === 'abandon') {
    emit('step', 'sends an Error and closes', (a) => {
      sendToDestination(a, 'E');
      closeAtSource(a);
      go(a, 'resume');
    });
  }
}

/** The copy gets its own uuid, paused, and a mark. Again after each restart. */
function doubt({ copy, copyOwn, copyDoubt }: State, emit: Emit): void {
  if (!alive(copy)) return;
  if (!copyDoubt) {
    emit('step', 'marks the copy in doubt', (_a, s) => {
      s.copyDoubt = true;
      s.copy = 'paused';
    });
  } else if (!copyOwn) {
    emit('step', 'gives the copy in doubt its name', (_a, s) => {
      s.copyOwn = true;
    });
  }
}

function recover(state: State, attempt: Attempt, emit: Emit): void {
  const { at, row, agreed } = attempt;
  const laneFree = !state.attempts.some((each) => each !== attempt && holdsLane(each));
  if (at === 'resume' || (at === 'resume later' && laneFree)) resume(state, attempt, emit);
  // Where no call arrives late it makes no difference.
  if (at === 'resume' && agreed && state.late > 0) tellBeside(attempt, emit);
  if (at === 'tell' && !agreed) {
    emit('step', 'has nothing to tell', (a) => {
      a.acknowledged = true;
      go(a, 'ended');
    });
  } else if (at === 'tell') {
    emit('step', 'calls settle', (a) => {
      a.settleSent = true;
      go(a, 'telling');
    });
  } else if (at === 'acknowledge') {
    emit('step', `calls acknowledge of \`${row}\``, (a) => {
      a.acknowledgeSent = true;
      go(a, 'acknowledging');
    });
  }
}

/** The destination is told while the VM is resumed: the calls may arrive, and nobody waits for their answers here. */
function tellBeside({ settleSent, acknowledgeSent }: Attempt, emit: Emit): void {
  if (!settleSent) {
    emit('step', 'calls settle beside that', (a) => {
      a.settleSent = true;
    });
  } else if (!acknowledgeSent) {
    emit('step', 'calls acknowledge beside that', (a) => {
      a.acknowledgeSent = true;
    });
  }
}

/** The VM goes on here: its name, no mark, and running if it ran; then the row says so. */
function resume({ copy, copyOwn, copyDoubt }: State, { ran, row, resumed }: Attempt, emit: Emit): void {
  const there = alive(copy);
  if (there && !copyOwn)
    emit('step', 'renames the copy back', (_a, s) => {
      s.copyOwn = true;
    });
  else if (there && copyDoubt)
    emit('step', 'clears the mark', (_a, s) => {
      s.copyDoubt = false;
    });
  else if (there && ran && !resumed) {
    emit('step', 'resumes the VM', (a, s) => {
      s.copy = 'running';
      a.resumed = true;
    });
  } else {
    emit('step', row === 'failed' ? 'journals that it was resumed' : 'journals `failed`', (a, s) => {
      if (beforeGoing(row) || row === 'going') journal(s, a, 'failed');
      a.resumePending = false;
      go(a, 'tell');
    });
  }
}
