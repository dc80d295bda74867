/**
 * The state of the model of the migration protocol, see migration.ts.
 *
 * One VM, two hosts, one or two attempts to migrate it. The names of journal states and steps are those of
 * src/migrate/protocol.ts. Points 1-vgpu and 1-mem decide nothing and are left out; the memory channel is `image`.
 */
import type { DestinationState, SourceState } from '../../../src/migrate/protocol.js';
import type { Kind } from './explorer.js';

/** What the source's daemon is about to do for an attempt, or waits for. Lost with the daemon. */
export type SourceAt =
  | 'none' // not begun
  | 'prepare' // about to call VM.receive
  | 'prepared' // waits for its reply
  | 'connect' // about to open the control channel
  | '1' // waits for point 1
  | 'copy' // about to journal `copying`
  | 'copying' // about to journal `suspended`
  | 'suspend' // about to pause the guest
  | 'last round' // about to write the end of the image
  | '2' // about to rename the old copy
  | '2-restored' // waits for it
  | 'going' // about to journal `going`
  | '3' // about to send point 3
  | 'run' // waits for point 4
  | '4' // about to journal `done`
  | 'clean-up' // about to destroy the old copy
  | 'abandon' // about to tell the destination that it failed
  | 'resume' // about to let the VM go on here
  | 'resume later' // the same in the background, after the back end has failed
  | 'settle' // about to call settle
  | 'settling' // waits for its answer
  | 'refused' // about to journal `failed`
  | 'tell' // `failed`: about to call settle, so that the destination refuses as well
  | 'telling' // waits for its answer
  | 'acknowledge' // about to call acknowledge
  | 'acknowledging' // waits for its answer
  | 'ended'
  | 'down';

/** The same for the destination. */
export type DestinationAt =
  | 'none'
  | 'prepare' // about to reserve memory
  | 'accept' // waits for the control channel
  | 'create' // about to create the domain
  | 'created' // about to journal `created`
  | '1' // about to send point 1
  | 'copy' // reads the image
  | '2' // about to journal `restored`
  | '2-restored' // about to send it
  | 'restored' // waits for point 3
  | '3' // it is here: about to journal `taken`
  | 'taken' // about to rename the domain
  | 'renamed' // about to journal `unpausing`
  | 'unpausing' // about to unpause
  | '4' // about to send point 4
  | 'done' // about to journal `done`
  | 'refuse' // about to journal `refused`
  | 'clean-up' // about to destroy the domain
  | 'release' // about to release the memory
  | 'look' // taken and interrupted: looks whether the domain ever ran
  | 'ask' // it never did: about to ask the source whether it may run
  | 'asking' // waits for the answer
  | 'may run' // about to clear the mark
  | 'ended'
  | 'down';

/** A domain. `lost`: its hypervisor was. */
export type Domain = '-' | 'building' | 'paused' | 'running' | 'destroyed' | 'lost';

/** What is on its way on one direction of the control channel, oldest first: S a Success, E an Error. */
export type Wire = string;

export interface Attempt {
  // The source
  row: '-' | SourceState;
  /** The row that a loss of power leaves. */
  rowOnDisk: '-' | SourceState;
  /** The row knows how to reach the destination. */
  agreed: boolean;
  /** `failed`, and the VM does not go on here yet. */
  resumePending: boolean;
  /** The old copy is gone, the destination told. */
  acknowledged: boolean;
  /** An operator has settled it. */
  forced: boolean;
  at: SourceAt;
  /** The VM ran when the attempt began. */
  ran: boolean;
  /** The token with which the VM is resumed was used: the hypervisor does nothing the second time. */
  resumed: boolean;
  /** The answer of the call that the source waits for; it is lost with the caller, and when it waits no more. */
  answer: '-' | 'agreed' | 'refused' | 'taken' | 'unknown' | 'done';

  // The destination
  drow: '-' | DestinationState;
  drowOnDisk: '-' | DestinationState;
  /** The row names the domain. */
  handle: boolean;
  /** The row is of a VM.receive that came late: its token is not the one that the source has. */
  foreign: boolean;
  dAt: DestinationAt;
  domain: Domain;
  /** The domain has the VM's uuid, not the temporary one. */
  own: boolean;
  doubt: boolean;
  memory: boolean;
  permission: '-' | 'yes' | 'no' | 'unknown';
  /** `taken` was durable at some time; nobody reads it but the invariants. */
  took: boolean;

  // Between them
  /** The control channel: whether each side still holds its end. */
  sourceEnd: boolean;
  destinationEnd: boolean;
  toDestination: Wire;
  toSource: Wire;
  /** The image, from its end at the source until it is read. */
  image: boolean;
  /** Calls that were made once: they can arrive any number of times, at any time later, or never. */
  receiveSent: boolean;
  settleSent: boolean;
  acknowledgeSent: boolean;
}

export interface State {
  sourceUp: boolean;
  destinationUp: boolean;
  /** The source's copy: `destroyed` once it is cleaned up. */
  copy: Domain;
  copyOwn: boolean;
  copyDoubt: boolean;
  /** How many more faults may come, and how many words of an operator. */
  faults: number;
  words: number;
  /** How many more calls may arrive when their caller waits for them no more. */
  late: number;
  attempts: Attempt[];
}

/** Mistakes on purpose, each of which the explorer has to find. */
export const flaws = {
  'the source sends 3 before `going` is durable': 'two copies run',
  'the destination runs the VM before `taken` is durable': 'two copies run',
  'the source resumes when settle has no answer, or `unknown`': 'two copies run',
  'the destination answers settle without recording it': 'two copies run',
  'a restarted destination runs what it took without asking': 'two copies run',
  'the source resumes by force before `failed` is durable': 'two copies run',
  'a second attempt begins while the first is still to be undone': 'two copies run',
  'the destination sends 2-restored to a source that does not wait for it': 'the VM is lost',
  'a refusal by the source destroys before `refused` is durable': 'a copy is destroyed before `refused` is durable',
  'the source acknowledges a refusal before `failed` is durable': 'no way to a good end',
  'acknowledge forgets a refusal that is not cleaned up': 'no way to a good end',
  'a refusal forgets a domain that was not journaled': 'no way to a good end',
  'the destination sends 4 without knowing that the VM runs': 'no way to a good end',
  'VM.receive is answered before `reserved` outlives a loss of power': 'no way to a good end',
  'the source acknowledges before `done` outlives a loss of power': 'no way to a good end',
} as const;
export type Flaw = keyof typeof flaws;

/** Within which bounds the states are explored. */
export interface Bounds {
  /** 2-restored is sent and waited for. */
  readonly restoredAck: boolean;
  readonly attempts: 1 | 2;
  /** Crashes of daemons, lost hypervisors, losses of power, calls to a hypervisor that fail: all together. */
  readonly faults: number;
  /** How often an operator settles by force. */
  readonly words: 0 | 1;
  /** How many calls arrive late, or again; without it any number. */
  readonly late?: number;
  readonly flaw?: Flaw;
}

const newAttempt: Attempt = {
  ...{ row: '-', rowOnDisk: '-', agreed: false, resumePending: false, acknowledged: false, forced: false, at: 'none' },
  ...{ ran: true, resumed: false, answer: '-' },
  ...{
    drow: '-',
    drowOnDisk: '-',
    handle: false,
    foreign: false,
    dAt: 'none',
    domain: '-',
    own: false,
    doubt: false,
    memory: false,
  },
  ...{ permission: '-', took: false },
  ...{ sourceEnd: false, destinationEnd: false, toDestination: '', toSource: '', image: false },
  ...{ receiveSent: false, settleSent: false, acknowledgeSent: false },
};

/** The VM runs at the source, and nothing has begun. */
export function firstState({ attempts, faults, words, late = Infinity }: Bounds): State {
  return {
    ...{ sourceUp: true, destinationUp: true, copy: 'running', copyOwn: true, copyDoubt: false, faults, words, late },
    attempts: Array.from({ length: attempts }, () => ({ ...newAttempt })),
  };
}

export function copyOf(state: State): State {
  return { ...state, attempts: state.attempts.map((attempt) => ({ ...attempt })) };
}

/** Equal for equal states, and only for these. */
export function keyOf(state: State): string {
  const { attempts, ...rest } = state;
  return `${Object.values(rest).join()};${attempts.map((attempt) => Object.values(attempt).join()).join(';')}`;
}

/** Take a transition: `change` gets a copy of the state, and the attempt in question in it. */
export type Emit = (kind: Kind, label: string, change: (attempt: Attempt, state: State) => void) => void;

export const alive = (domain: Domain): boolean => domain === 'building' || domain === 'paused' || domain === 'running';

/** The source has not journaled that it goes. */
export const beforeGoing = (row: Attempt['row']): boolean =>
  row === 'preparing' || row === 'copying' || row === 'suspended';

/** The destination has not decided. */
export const undecided = (row: Attempt['drow']): boolean =>
  row === 'reserved' || row === 'created' || row === 'restored';

/** Journal a source's row; where it has to outlive a loss of power, with all that the host wrote before. */
export function journal(state: State, attempt: Attempt, row: SourceState, against?: 'powerLoss'): void {
  attempt.row = row;
  if (against === 'powerLoss') for (const each of state.attempts) each.rowOnDisk = each.row;
}

/** The same at the destination. */
export function journalAtDestination(
  state: State,
  attempt: Attempt,
  row: '-' | DestinationState,
  against?: 'powerLoss',
): void {
  attempt.drow = row;
  if (row === 'taken') attempt.took = true;
  if (against === 'powerLoss') for (const each of state.attempts) each.drowOnDisk = each.drow;
}

export function sendToDestination(attempt: Attempt, message: 'S' | 'E'): void {
  if (attempt.destinationEnd) attempt.toDestination += message;
}

export function sendToSource(attempt: Attempt, message: 'S' | 'E'): void {
  if (!attempt.sourceEnd) return;
  if (attempt.toSource.length === longestWire) throw new Error(`more on the wire than ${attempt.toSource}`);
  attempt.toSource += message;
}

/** No run needs more: a wire that grows is a mistake of the model. */
const longestWire = 3;

/** Take the oldest message off a wire. */
export const rest = (wire: Wire): Wire => wire.slice(1);

/** A side lets go of its end: what it sent still arrives, what is sent to it does not. */
export function closeAtSource(attempt: Attempt): void {
  attempt.sourceEnd = false;
  attempt.toSource = '';
}

export function closeAtDestination(attempt: Attempt): void {
  attempt.destinationEnd = false;
  attempt.toDestination = '';
  attempt.image = false;
}
