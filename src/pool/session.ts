/**
 * Sessions: who may call. There is one user, root, the local superuser; its password is random at first, and stands in a file
 * of the state directory that its owner alone can read until it is changed.
 */
import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pLimit from 'p-limit';
import type { Ref, Role } from '../../idl/index.js';
import type { SessionIdentity, Sessions } from '../base/dispatch-deps.js';
import { invalidValue, messageOf, XapiError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { readTextFile } from '../base/named-file.js';
import type { Table } from '../base/store.js';
import type { Database } from './database.js';
import { hashPassword, type PasswordHash, passwordMatches } from './password.js';

export interface SessionDeps {
  readonly db: Database;
  readonly passwords: Table<PasswordHash>;
  readonly stateDir: string;
  readonly log: Log;
  /** The host that sessions are of. */
  readonly thisHost: () => Ref<'host'>;
  readonly now: () => Date;
  /** Milliseconds that have passed, whatever is done to the clock. */
  readonly elapsed: () => number;
}

export interface SessionService extends Sessions {
  /** @throws SESSION_AUTHENTICATION_FAILED [user, message] */
  login(user: string, password: string, originator: string): Promise<Ref<'session'>>;
  /** A session that the pool itself opens, for a peer: of the local superuser, or with what a role may do and no more. */
  open(originator: string, role?: Role): Ref<'session'>;
  /** End a session; fine where there is none. */
  logout(ref: Ref<'session'>): void;
  /** @throws SESSION_AUTHENTICATION_FAILED where the old password is wrong, INVALID_VALUE where the new one is empty */
  changePassword(user: string, oldPassword: string, newPassword: string): Promise<void>;
  /** Aborted when the session ends; of one that is no more, aborted already. */
  ended(ref: Ref<'session'>): AbortSignal;
  /** Keep a session, fine where there is none, until what it was given for is over. @returns ends that */
  keep(ref: Ref<'session'> | undefined): () => void;
  /** End the sessions that nobody has used for a day, nor keeps. */
  collect(): void;
}

const superuser = 'root';
const idleLimit = 24 * 60 * 60 * 1000;
/** `last_active` is kept to this many milliseconds, so that calls do not each write a row. */
const activeStep = 1000;
/** So many sessions a user may have for one originator (xapi's figure); where there are more, the longest unused ends. */
const mostAlike = 500;

interface Live {
  readonly ending: AbortController;
  /** Of one that is not of the local superuser. */
  readonly role: Role | undefined;
  /** When it was last used, and when that was last written to its row, as `elapsed` tells. */
  usedAt: number;
  shownAt: number;
}

/** Sessions for a database. Gives root a password where it has none yet. */
export async function createSessions(deps: SessionDeps): Promise<SessionService> {
  const { db, passwords, now, elapsed } = deps;
  /** The longest unused first. */
  const live = new Map<Ref<'session'>, Live>();
  const kept = new Map<Ref<'session'>, number>();
  // Each check takes a thread of Node's pool for some 50 ms; files need the others.
  const limit = pLimit(2);
  await provideRootPassword(deps);

  const authenticate = async (user: string, password: string): Promise<void> => {
    const hash = user === superuser ? passwords.get(superuser) : undefined;
    if (await limit(() => passwordMatches(password, hash))) return;
    throw new XapiError('SESSION_AUTHENTICATION_FAILED', [user, 'Authentication failure']);
  };
  const open = (user: string, originator: string, role?: Role): Ref<'session'> => {
    const ref = db.create('session', {
      this_host: deps.thisHost(),
      last_active: now(),
      validation_time: now(),
      is_local_superuser: role === undefined,
      auth_user_name: user,
      originator,
    });
    live.set(ref, { ending: new AbortController(), role, usedAt: elapsed(), shownAt: elapsed() });
    endSurplus(user, originator);
    return ref;
  };
  const endSurplus = (user: string, originator: string): void => {
    const alike = [...live.keys()].filter((ref) => {
      const row = db.find('session', ref);
      return row?.auth_user_name === user && row.originator === originator && !kept.has(ref);
    });
    for (const ref of alike.slice(0, -mostAlike)) logout(ref);
  };
  const touch = (ref: Ref<'session'>, session: Live): void => {
    session.usedAt = elapsed();
    live.delete(ref);
    live.set(ref, session);
    if (session.usedAt - session.shownAt < activeStep) return;
    session.shownAt = session.usedAt;
    db.update('session', ref, { last_active: now() });
  };
  const logout = (ref: Ref<'session'>): void => {
    if (db.find('session', ref) === undefined) return;
    db.destroy('session', ref);
    live.get(ref)?.ending.abort();
    live.delete(ref);
  };

  return {
    use(ref): SessionIdentity | undefined {
      const session = ref as Ref<'session'>;
      const row = db.find('session', session);
      const used = live.get(session);
      if (row === undefined || used === undefined) return undefined;
      touch(session, used);
      return { ref: session, isLocalSuperuser: row.is_local_superuser, roles: [used.role ?? 'pool-admin'] };
    },
    async login(user, password, originator) {
      await authenticate(user, password);
      return open(user, originator);
    },
    open: (originator, role) => open(superuser, originator, role),
    logout,
    async changePassword(user, oldPassword, newPassword) {
      if (newPassword === '') throw invalidValue('new_pwd', newPassword, 'a text that is not empty');
      await authenticate(user, oldPassword);
      await passwords.put(superuser, await limit(() => hashPassword(newPassword)));
      await rm(passwordFile(deps), { force: true });
    },
    ended: (ref) => live.get(ref)?.ending.signal ?? AbortSignal.abort(),
    keep(ref) {
      if (ref === undefined || db.find('session', ref) === undefined) return () => undefined;
      kept.set(ref, (kept.get(ref) ?? 0) + 1);
      let over = false;
      return () => {
        if (over) return;
        over = true;
        const left = (kept.get(ref) ?? 1) - 1;
        if (left > 0) kept.set(ref, left);
        else kept.delete(ref);
        const session = live.get(ref);
        if (session !== undefined) touch(ref, session);
      };
    },
    collect() {
      const oldest = elapsed() - idleLimit;
      for (const [ref, { usedAt }] of live) if (usedAt < oldest && !kept.has(ref)) logout(ref);
    },
  };
}

function passwordFile(deps: SessionDeps): string {
  return join(deps.stateDir, 'root-password');
}

/** Root's first password: what the file holds where an operator put one there, else a random one, written to it. */
async function provideRootPassword(deps: SessionDeps): Promise<void> {
  if (deps.passwords.get(superuser) !== undefined) return;
  const file = passwordFile(deps);
  let password = passwordIn(file);
  if (password === '') {
    password = randomBytes(18).toString('base64url');
    await rm(file, { force: true });
    await writeFile(file, `${password}\n`, { mode: 0o600 });
  }
  await deps.passwords.put(superuser, await hashPassword(password));
  deps.log.info(`the password of ${superuser} is in ${file}, until it is changed`);
}

/** Empty where there is no file. */
function passwordIn(file: string): string {
  try {
    return readTextFile(file).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new Error(`the first password of ${superuser}, ${file}: ${messageOf(error)}`, { cause: error });
  }
}
