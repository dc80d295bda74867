/**
 * What the records say of copies that may not run: of a VM whose only copy is in doubt, and of copies left behind on hosts that were
 * given up. Each stands in the VM's other_config and in a message, as long as it holds.
 */
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../base/errors.js';
import type { Database, RecordView } from '../database/database.js';
import { type MessageDeps, tellInstead, withdraw } from '../events/messages.js';

/** The key of other_config that says why a VM is in doubt: nobody knows yet on which of two hosts it will run. */
export const inDoubtKey = 'xenferry:in-doubt';

/** The key of other_config with the uuids, by spaces, of hosts that may have a copy of a VM that is not there any more. */
export const leftBehindKey = 'xenferry:left-behind';

/** The names of the messages. */
const inDoubtMessage = 'VM_MIGRATION_IN_DOUBT';
const leftBehindMessage = 'VM_COPY_LEFT_BEHIND';

/** The command by which an operator settles a doubt about a VM. */
export function settlingCommand(uuid: string): string {
  return `xe vm-reset-powerstate uuid=${uuid} --force`;
}

/** Mark a VM as in doubt, or say why anew. */
export function markInDoubt(deps: MessageDeps, vm: Ref<'VM'>, reason: string): void {
  const { db } = deps;
  const { uuid, name_label, other_config } = db.get('VM', vm);
  if (other_config[inDoubtKey] === reason) return;
  db.putInMap('VM', vm, 'other_config', inDoubtKey, reason);
  const body = [
    `VM ${uuid} (${name_label}) is in doubt: ${reason}.`,
    'It stays paused until the hosts of the migration can speak with each other again, which settles it without you.',
    `If one of them is gone for good, settle it: ${settlingCommand(uuid)}`,
  ];
  tellInstead(deps, inDoubtMessage, 'VM', uuid, body.join(' '));
}

/** Take the mark of a doubt from a VM; fine where there is none. */
export function clearDoubt(deps: MessageDeps, vm: Ref<'VM'>): void {
  const { uuid, other_config } = deps.db.get('VM', vm);
  if (other_config[inDoubtKey] === undefined) return;
  deps.db.removeFromMap('VM', vm, 'other_config', inDoubtKey);
  withdraw(deps.db, inDoubtMessage, uuid);
}

/** Whether a host was given up with a copy of the VM that is not to run. */
export function isLeftBehind(db: Database, vm: Ref<'VM'>, hostUuid: string): boolean {
  return leftBehind(db, vm).includes(hostUuid);
}

/** Note that a host has, or may have, a copy of the VM that is not to run. */
export function putLeftBehind(db: Database, vm: Ref<'VM'>, hostUuid: string): void {
  const hosts = leftBehind(db, vm);
  if (!hosts.includes(hostUuid)) putHosts(db, vm, [...hosts, hostUuid]);
}

/** Tell that a host has a copy of the VM that is not to run. */
export function tellLeftBehind(deps: MessageDeps, vm: Ref<'VM'>, hostName: string): void {
  const { uuid, name_label } = deps.db.get('VM', vm);
  const body = [
    `Host ${hostName} has a copy of VM ${uuid} (${name_label}) that must not run, as the VM was given up there, or runs elsewhere.`,
    `It is paused there, in doubt. To destroy it: ${settlingCommand(uuid)}`,
  ];
  tellInstead(deps, leftBehindMessage, 'VM', uuid, body.join(' '));
}

/** Note that a host has no copy of the VM any more that is not to run; fine where it had none. */
export function clearLeftBehind(db: Database, vm: Ref<'VM'>, hostUuid: string): void {
  const hosts = leftBehind(db, vm);
  if (!hosts.includes(hostUuid)) return;
  const rest = hosts.filter((host) => host !== hostUuid);
  putHosts(db, vm, rest);
  if (rest.length === 0) withdraw(db, leftBehindMessage, db.get('VM', vm).uuid);
}

/** Withdraw the messages about the copies of a VM whose record goes. */
export function withdrawDoubts(db: Database, uuid: string): void {
  withdraw(db, inDoubtMessage, uuid);
  withdraw(db, leftBehindMessage, uuid);
}

/** An other_config without the marks of doubts, which neither another VM nor another pool takes over. */
export function withoutDoubts(other_config: Readonly<Record<string, string>>): Record<string, string> {
  const { [inDoubtKey]: _doubt, [leftBehindKey]: _left, ...rest } = other_config;
  return rest;
}

/** What a client sets other_config to: the marks stay as they are, as what it read may be of before. */
export function withDoubtsOf(
  before: Readonly<Record<string, string>>,
  next: Readonly<Record<string, string>>,
): Record<string, string> {
  const marks = [inDoubtKey, leftBehindKey].flatMap((key) => (before[key] === undefined ? [] : [[key, before[key]]]));
  return { ...withoutDoubts(next), ...Object.fromEntries(marks) };
}

/** @throws OPERATION_NOT_ALLOWED for the key of a VM that is in doubt: to remove it would not end the doubt */
export function assertNoDoubt({ uuid, other_config }: RecordView<'VM'>, key: string): void {
  if (key !== inDoubtKey || other_config[key] === undefined) return;
  throw new XapiError('OPERATION_NOT_ALLOWED', [
    `other_config:${key} stays as long as VM ${uuid} is in doubt. Where a host is gone for good: ${settlingCommand(uuid)}`,
  ]);
}

/** @throws OPERATION_NOT_ALLOWED for a key that says what is known of a VM's copies: no client adds it */
export function assertNoMark(key: string): void {
  if (key !== inDoubtKey && key !== leftBehindKey) return;
  throw new XapiError('OPERATION_NOT_ALLOWED', [`other_config:${key} is set by the pool alone`]);
}

function leftBehind(db: Database, vm: Ref<'VM'>): string[] {
  return (db.get('VM', vm).other_config[leftBehindKey] ?? '').split(' ').filter((uuid) => uuid !== '');
}

function putHosts(db: Database, vm: Ref<'VM'>, hosts: readonly string[]): void {
  if (hosts.length === 0) db.removeFromMap('VM', vm, 'other_config', leftBehindKey);
  else db.putInMap('VM', vm, 'other_config', leftBehindKey, hosts.join(' '));
}
