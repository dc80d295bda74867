/** What the destination does next. Mirrors migrate/destination: migrations.ts, phases.ts and recovery.ts. */
import {
  type Attempt,
  alive,
  type Bounds,
  closeAtDestination,
  type DestinationAt,
  type Emit,
  journalAtDestination,
  rest,
  type State,
  sendToSource,
  undecided,
} from './state.js';

/** Where a failure, or a wait that lasts too long, ends in a refusal. */
const refusable: readonly DestinationAt[] = [
  ...(['prepare', 'accept', 'create', 'created', '1', 'copy', '2', '2-restored', 'restored', '3'] as const),
];

export function destinationSteps(bounds: Bounds, state: State, attempt: Attempt, emit: Emit): void {
  if (!state.destinationUp) return;
  hear(bounds, state, attempt, emit);
  phases(bounds, attempt, emit);
  run(bounds, attempt, emit);
  refuse(attempt, emit);
  interrupted(bounds, state, attempt, emit);
  if (refusable.includes(attempt.dAt)) emit('step', 'fails, or waits no more', (a) => go(a, 'refuse'));
}

function go(attempt: Attempt, at: DestinationAt): void {
  attempt.dAt = at;
  attempt.permission = '-';
}

/** The calls of the source: each may be an old one that comes late, and the source may wait for another answer by now. */
function hear({ flaw }: Bounds, state: State, attempt: Attempt, emit: Emit): void {
  const { at, answer } = attempt;
  const call = (sent: boolean, waits: boolean, work: (arrive: Emit) => void) => {
    const inTime = waits && answer === '-';
    if (!sent || (!inTime && state.late === 0)) return;
    work((kind, label, change) =>
      emit(kind, label, (a, s) => {
        if (!inTime) s.late -= 1;
        change(a, s);
      }),
    );
  };
  call(attempt.receiveSent, at === 'prepared', (arrive) => receive(flaw, state, attempt, arrive));
  call(attempt.settleSent, at === 'settling' || at === 'telling', (arrive) => settle(flaw, attempt, arrive));
  call(attempt.acknowledgeSent, at === 'acknowledging', (arrive) => acknowledge(flaw, attempt, arrive));
}

/** A command: what has not taken the VM refuses it, and only what is durable is answered. */
function settle(flaw: Bounds['flaw'], { drow, foreign, dAt, at, answer }: Attempt, emit: Emit): void {
  const inMemory = flaw === 'the destination answers settle without recording it';
  if (undecided(drow) && !foreign && !inMemory) {
    if (dAt !== 'refuse') emit('step', 'hears settle: refuses', (a) => go(a, 'refuse'));
  } else if (answer === '-' && (at === 'settling' || at === 'telling')) {
    const said = drow === '-' || foreign ? 'unknown' : undecided(drow) || drow === 'refused' ? 'refused' : 'taken';
    emit('step', `answers settle: \`${said}\``, (a) => {
      a.answer = said;
    });
  }
}

/** VM.receive: the same id gives the same reply; another one first refuses what was not taken. */
function receive(flaw: Bounds['flaw'], { attempts }: State, attempt: Attempt, emit: Emit): void {
  const { drow, at, answer } = attempt;
  const waits = at === 'prepared' && answer === '-';
  const refuses = () =>
    waits &&
    emit('step', 'refuses VM.receive', (a) => {
      a.answer = 'refused';
    });
  if (drow === 'refused') refuses();
  else if (drow !== '-') {
    const says = waits && attempt.dAt !== 'prepare' && attempt.dAt !== 'refuse';
    if (says)
      emit('step', 'answers VM.receive', (a) => {
        a.answer = 'agreed';
      });
  } else {
    const others = attempts.filter((each) => each !== attempt);
    const older = others.find((each) => undecided(each.drow) && each.dAt !== 'refuse');
    if (older !== undefined) {
      emit('step', 'refuses the other attempt, as VM.receive has come', (_a, s) => {
        go(s.attempts[attempts.indexOf(older)]!, 'refuse');
      });
    } else if (others.some((each) => ['taken', 'unpausing'].includes(each.drow))) refuses();
    else if (others.some((each) => undecided(each.drow) || ['clean-up', 'release'].includes(each.dAt))) return;
    else if (others.some((each) => alive(each.domain) && !each.own)) refuses();
    else {
      emit('step', 'hears VM.receive, journals `reserved`', (a, s) => {
        const weak = flaw === 'VM.receive is answered before `reserved` outlives a loss of power';
        journalAtDestination(s, a, 'reserved', weak ? undefined : 'powerLoss');
        a.foreign = a.agreed;
        a.handle = false;
        // A call that comes late finds the VM here, perhaps.
        if (!a.took) Object.assign(a, { domain: '-', own: false, doubt: false });
        go(a, 'prepare');
      });
    }
  }
}

/** The source knows the outcome: it is forgotten, unless something is left to do. */
function acknowledge(flaw: Bounds['flaw'], { drow, foreign, dAt, at, answer }: Attempt, emit: Emit): void {
  const hasty = flaw === 'acknowledge forgets a refusal that is not cleaned up';
  const over = dAt === 'ended' || (hasty && (dAt === 'clean-up' || dAt === 'release'));
  if (!foreign && (drow === 'done' || drow === 'refused') && over) {
    emit('step', `forgets \`${drow}\`, as is acknowledged`, (a, s) => {
      journalAtDestination(s, a, '-');
      go(a, 'none');
      if (a.at === 'acknowledging') a.answer = 'done';
    });
  } else if ((foreign || drow === '-') && at === 'acknowledging' && answer === '-') {
    emit('step', 'answers acknowledge', (a) => {
      a.answer = 'done';
    });
  }
}

function phases({ restoredAck, flaw }: Bounds, attempt: Attempt, emit: Emit): void {
  const { dAt, domain, destinationEnd, toDestination } = attempt;
  const unasked = flaw === 'the destination sends 2-restored to a source that does not wait for it';
  if (dAt === 'prepare') {
    emit('step', 'reserves memory', (a) => {
      a.memory = true;
      go(a, 'accept');
    });
  } else if (dAt === 'accept' && destinationEnd) {
    emit('step', 'accepts the control channel', (a) => go(a, 'create'));
  } else if (dAt === 'create') {
    emit('step', 'creates the domain', (a) => {
      a.domain = 'building';
      a.memory = false;
      go(a, 'created');
    });
  } else if (dAt === 'created') {
    emit('step', 'journals `created`', (a, s) => {
      journalAtDestination(s, a, 'created');
      a.handle = true;
      go(a, '1');
    });
  } else if (dAt === '1') {
    emit('step', 'sends 1', (a) => {
      sendToSource(a, 'S');
      go(a, 'copy');
    });
  } else if (dAt === 'copy' && attempt.image && domain === 'building') {
    emit('step', 'reads the end of the image', (a) => {
      a.image = false;
      a.domain = 'paused';
      go(a, '2');
    });
  } else if (dAt === '2') {
    emit('step', 'journals `restored`', (a, s) => {
      journalAtDestination(s, a, 'restored');
      go(a, restoredAck || unasked ? '2-restored' : 'restored');
    });
  } else if (dAt === '2-restored') {
    emit('step', 'sends 2-restored', (a) => {
      sendToSource(a, 'S');
      go(a, 'restored');
    });
  } else if (dAt === 'restored' && toDestination !== '') {
    const three = toDestination.startsWith('S');
    emit('step', three ? 'hears 3' : 'hears an Error', (a) => {
      a.toDestination = rest(a.toDestination);
      go(a, three ? '3' : 'refuse');
    });
  }
}

/** From point 3 on. A domain that is gone is found out by whatever is done with it next. */
function run({ flaw }: Bounds, { dAt, domain, ran }: Attempt, emit: Emit): void {
  const early = flaw === 'the destination runs the VM before `taken` is durable';
  if (dAt === '3' && domain === 'paused' && early) {
    emit('step', 'unpauses', (a) => {
      a.domain = 'running';
    });
  }
  if (dAt === '3' && (domain === 'paused' || domain === 'running')) {
    emit('step', 'journals `taken`', (a, s) => {
      journalAtDestination(s, a, 'taken', 'powerLoss');
      go(a, 'taken');
    });
  } else if (['taken', 'renamed', 'unpausing'].includes(dAt) && !alive(domain)) {
    emit('step', 'finds no domain', (a) => go(a, 'look'));
  } else if (dAt === 'taken') {
    emit('step', 'renames the domain', (a) => {
      a.own = true;
      go(a, 'renamed');
    });
  } else if (dAt === 'renamed') {
    emit('step', 'journals `unpausing`', (a, s) => {
      journalAtDestination(s, a, 'unpausing');
      go(a, 'unpausing');
    });
  } else if (dAt === 'unpausing') {
    emit('step', 'unpauses', (a) => {
      if (ran) a.domain = 'running';
      go(a, '4');
    });
  } else if (dAt === '4') {
    emit('step', 'sends 4', (a) => {
      sendToSource(a, 'S');
      go(a, 'done');
    });
  } else if (dAt === 'done') {
    emit('step', 'journals `done`', (a, s) => {
      closeAtDestination(a);
      journalAtDestination(s, a, 'done');
      go(a, 'ended');
    });
  }
}

function refuse({ dAt, drow, domain, handle, own, destinationEnd }: Attempt, emit: Emit): void {
  if (dAt === 'refuse' && destinationEnd) {
    emit('step', 'sends an Error and closes', (a) => {
      sendToSource(a, 'E');
      closeAtDestination(a);
    });
  } else if (dAt === 'refuse') {
    emit('step', 'journals `refused`', (a, s) => {
      // A domain that was made and not journaled is looked for by its temporary uuid.
      journalAtDestination(s, a, 'refused', undecided(drow) ? undefined : 'powerLoss');
      go(a, 'clean-up');
    });
  } else if (dAt === 'clean-up') {
    emit('step', 'destroys the domain, unless it ran', (a) => {
      const known = handle || !own;
      if (known && (domain === 'building' || domain === 'paused')) a.domain = 'destroyed';
      go(a, 'release');
    });
  } else if (dAt === 'release') {
    emit('step', 'releases the memory', (a) => {
      a.memory = false;
      go(a, 'ended');
    });
  }
}

/** What was taken, and was interrupted before it was known to run. */
function interrupted({ flaw }: Bounds, { sourceUp }: State, attempt: Attempt, emit: Emit): void {
  const { dAt, domain, own, doubt, permission, row } = attempt;
  if (dAt === 'look') {
    const ran = domain !== 'paused';
    const hasty = flaw === 'a restarted destination runs what it took without asking';
    const next = ran ? 'done' : hasty ? 'may run' : 'ask';
    emit('step', ran ? 'finds that it ran, or is gone' : 'finds that it never ran', (a) => go(a, next));
  } else if ((dAt === 'ask' || dAt === 'asking') && domain !== 'paused') {
    emit('step', 'looks again', (a) => go(a, 'look'));
  } else if (dAt === 'ask' && !doubt) {
    emit('step', 'marks the copy in doubt', (a) => {
      a.doubt = true;
    });
  } else if (dAt === 'ask') {
    emit('step', 'calls mayRun', (a) => go(a, 'asking'));
  } else if (dAt === 'asking') {
    const says = row === 'going' || row === 'done' ? 'yes' : row === 'failed' ? 'no' : 'unknown';
    if (permission === '-' && sourceUp) {
      emit('step', `source answers mayRun: \`${says}\``, (a) => {
        a.permission = says;
      });
    }
    if (permission === 'yes') emit('step', 'hears that it may run', (a) => go(a, 'may run'));
    if (permission === 'no') {
      const hasty = flaw === 'a refusal by the source destroys before `refused` is durable';
      emit('step', 'hears that it may not run', (a) => {
        if (hasty) a.domain = 'destroyed';
        go(a, 'refuse');
      });
    }
    if (permission === '-' || permission === 'unknown') emit('step', 'waits no more', (a) => go(a, 'ask'));
  } else if (dAt === 'may run') {
    if (!alive(domain)) emit('step', 'finds no domain', (a) => go(a, 'look'));
    else if (!own)
      emit('step', 'renames the domain', (a) => {
        a.own = true;
      });
    else if (doubt)
      emit('step', 'clears the mark', (a) => {
        a.doubt = false;
      });
    else emit('step', 'goes on', (a) => go(a, 'renamed'));
  }
}
