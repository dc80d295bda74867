/**
 * Messages: what happened to an object, told to whoever asks later. The pool's own have the names and priorities that xapi gives
 * them, and where xapi has none their own. They are kept until somebody destroys them, the newest ones at most.
 */
import type { RecordOf, Ref } from '../../../idl/index.js';
import type { Database } from '../database/database.js';

/** How many messages are kept; as in xapi. */
export const messageLimit = 10_000;

/**
 * The messages that the pool makes, with xapi's priorities: 1 data may be lost, 2 something may fail, 3 something may suffer,
 * 4 something got better, 5 day-to-day.
 */
const priorities = {
  VM_STARTED: 5,
  VM_SHUTDOWN: 5,
  VM_REBOOTED: 5,
  VM_PAUSED: 5,
  VM_UNPAUSED: 5,
  VM_SUSPENDED: 5,
  VM_RESUMED: 5,
  VM_MIGRATED: 5,
  VM_CLONED: 5,
  VM_CRASHED: 2,
  HOST_CLOCK_SKEW_DETECTED: 3,
  HOST_CPU_FEATURES_DOWN: 3,
  HOST_CPU_FEATURES_UP: 5,
  PBD_PLUG_FAILED_ON_SERVER_START: 3,
  // What xapi has nothing like.
  VM_MIGRATION_IN_DOUBT: 2,
  VM_COPY_LEFT_BEHIND: 2,
  HOST_DOMAINS_UNKNOWN: 3,
  VM_STALLED: 3,
} as const;

export type MessageName = keyof typeof priorities;

export interface MessageDeps {
  readonly db: Database;
  readonly now: () => Date;
}

type Subject = RecordOf<'message'>['cls'];

/** Make a message; where there are too many, the oldest go. */
export function createMessage(
  { db, now }: MessageDeps,
  message: Omit<RecordOf<'message'>, 'uuid' | 'timestamp'>,
): Ref<'message'> {
  const made = db.create('message', { ...message, timestamp: now() });
  const surplus = db.count('message') - messageLimit;
  if (surplus > 0) for (const [oldest] of db.all('message').slice(0, surplus)) db.destroy('message', oldest);
  return made;
}

/** Tell what happened to an object. */
function tell(deps: MessageDeps, name: MessageName, cls: Subject, obj_uuid: string, body: string): void {
  createMessage(deps, { name, priority: priorities[name], cls, obj_uuid, body });
}

/**
 * Tell what happened to a VM, which may be gone by now.
 * @param what goes on after its name
 */
export function tellOfVm(deps: MessageDeps, name: MessageName, vm: Ref<'VM'>, what: string): void {
  const record = deps.db.find('VM', vm);
  if (record !== undefined) tell(deps, name, 'VM', record.uuid, `VM ${named(record)} ${what}`);
}

/**
 * Tell what happened to a host.
 * @param what goes on after its name
 */
export function tellOfHost(deps: MessageDeps, name: MessageName, host: Ref<'host'>, what: string): void {
  const record = deps.db.get('host', host);
  tell(deps, name, 'Host', record.uuid, `Host ${named(record)} ${what}`);
}

/** How a message names a host. */
export function hostNamed(db: Database, host: Ref<'host'>): string {
  const record = db.find('host', host);
  return record === undefined ? 'a host that is gone' : `host ${named(record)}`;
}

function named({ name_label, uuid }: { readonly name_label: string; readonly uuid: string }): string {
  return `${name_label} (${uuid})`;
}

/**
 * Tell what holds now of an object: one message of a name for each, as what it said before is of no use any more.
 * @returns whether that is new
 */
export function tellInstead(
  deps: MessageDeps,
  name: MessageName,
  cls: Subject,
  obj_uuid: string,
  body: string,
): boolean {
  const { db } = deps;
  const isTold = db
    .all('message')
    .some(([, row]) => row.name === name && row.obj_uuid === obj_uuid && row.body === body);
  if (isTold) return false;
  withdraw(db, name, obj_uuid);
  tell(deps, name, cls, obj_uuid, body);
  return true;
}

/** What a message tells of an object holds no more; fine where there is none. */
export function withdraw(db: Database, name: MessageName, uuid: string): void {
  for (const [ref, row] of db.all('message')) {
    if (row.name === name && row.obj_uuid === uuid) db.destroy('message', ref);
  }
}
