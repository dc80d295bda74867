/**
 * Sessions: who may call. There is one user, root, the local superuser; its password is random at first, and stands in a file
 * of the state directory that its owner alone can read until it is changed.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Ref } from '../../../idl/index.js';
import { invalidValue, XapiError } from '../../base/errors.js';
import type { Log } from '../../base/log.js';
import type { Table } from '../../base/store/store.js';
import type { SessionIdentity, Sessions } from '../../model/dispatch-deps.js';
import type { Database } from '../database/database.js';
import { askerOf, createFairLimit } from './fair-limit.js';
import { firstPasswordIn } from './first-password.js';
import { createLoginLog, type LoginLog } from './login-log.js';
import { hashPassword, type PasswordHash, passwordMatches } from './password.js';

export interface SessionDeps {
  readonly db: Database;
  readonly passwords: Table<PasswordHash>;
  /** Resolves when the passwords outlive a loss of power. */
  readonly flushed: () => Promise<void>;
  readonly stateDir: string;
  readonly log: Log;
  /** The host that sessions are of. */
  readonly thisHost: () => Ref<'host'>;
  readonly now: () => Date;
  /** Milliseconds that have passed, whatever is done to the clock. */
  readonly elapsed: () => number;
}

export interface SessionService extends Sessions {
  /**
   * @param address where the caller is; the logins that one address has waiting hold up those of no other
   * @throws SESSION_AUTHENTICATION_FAILED [user, message]
   */
  login(user: string, password: string, originator: string, address: string): Promise<Ref<'session'>>;
  /**
   * A session that the pool itself opens, for a peer.
   * @param permissions the messages that it may send, in lower case as in `rbac_permissions`; of the local superuser where absent
   */
  open(originator: string, permissions?: readonly string[]): Ref<'session'>;
  /**
   * End a session; fine where there is none.
   * @param address of who asks for it, for the log
   */
  logout(ref: Ref<'session'>, address?: string): void;
  /**
   * Change the password of a session's user, and end the other sessions that a password has opened for that user.
   * @throws SESSION_AUTHENTICATION_FAILED where the old password is wrong, INVALID_VALUE where the new one is empty, INTERNAL_ERROR
   *   where the file of the first password cannot be removed; nothing was changed then
   */
  changePassword(session: Ref<'session'>, oldPassword: string, newPassword: string, address: string): Promise<void>;
  /** Write down in the log that a host has shown the secret of the pool, or a wrong one. */
  noteHost(has: 'logged in' | 'failed', address: string): void;
  /** Aborted when the session ends; of one that is no more, aborted already. */
  ended(ref: Ref<'session'>): AbortSignal;
  /**
   * Keep a session, fine where there is none, until what it was given for is over.
   * @returns ends that
   */
  keep(ref: Ref<'session'> | undefined): () => void;
  /** End the sessions that nobody has used for a day, nor keeps; the numbers of logins that are due go to the log. */
  collect(): void;
  /** The numbers that are not due yet go to the log too. */
  close(): void;
}

const superuser = 'root';
const idleLimit = 24 * 60 * 60 * 1000;
/** `last_active` is kept to this many milliseconds, so that calls do not each write a row. */
const activeStep = 1000;
/** How many sessions a user may have for one originator (xapi's figure); where there are more, the longest unused ends. */
const mostAlike = 500;
/** How many checks of passwords run at once: each takes a thread of Node's pool for some 50 ms, and files need the others. */
const checksAtOnce = 2;
/** How many checks may wait for one address. */
const mostChecksWaiting = 32;

interface Live {
  readonly ending: AbortController;
  /** Of one that is not of the local superuser. */
  readonly permissions: ReadonlySet<string> | undefined;
  /** Opened with a password, by its user. */
  readonly byPassword: boolean;
  /** When it was last used, and when that was last written to its row, as `elapsed` tells. */
  usedAt: number;
  shownAt: number;
}

interface Context extends SessionDeps {
  /** The longest unused first. */
  readonly live: Map<Ref<'session'>, Live>;
  /** How often each is kept, of those that do not end for want of use. */
  readonly kept: Map<Ref<'session'>, number>;
  readonly logins: LoginLog;
}

/** Make the sessions of a database. Gives root a password where it has none yet. */
export async function createSessions(deps: SessionDeps): Promise<SessionService> {
  const { db, elapsed } = deps;
  const logins = createLoginLog(deps.log, elapsed);
  const context: Context = { ...deps, live: new Map(), kept: new Map(), logins };
  const { live, kept } = context;
  const first = firstPasswordIn(deps.stateDir);
  await provideRootPassword(deps, first);
  const passwords = createPasswords(context, first);

  return {
    use: (ref) => use(context, ref as Ref<'session'>),
    async login(user, password, originator, address) {
      await passwords.authenticate('login', user, password, address);
      logins.note('info', 'login', user, address);
      return open(context, user, originator, { byPassword: true });
    },
    open: (originator, permissions) => open(context, superuser, originator, { permissions }),
    logout: (ref, address) => logout(context, ref, address),
    async changePassword(session, oldPassword, newPassword, address) {
      const user = db.find('session', session)?.auth_user_name ?? '';
      if (newPassword === '') throw invalidValue('new_pwd', newPassword, 'a text that is not empty');
      await passwords.authenticate('change of password', user, oldPassword, address);
      await passwords.change(newPassword);
      logins.note('info', 'change of password', user, address);
      for (const [ref, { byPassword }] of live) {
        if (byPassword && ref !== session && db.find('session', ref)?.auth_user_name === user) logout(context, ref);
      }
    },
    noteHost: (has, address) =>
      logins.note(has === 'failed' ? 'warn' : 'info', has === 'failed' ? 'login failed' : 'login', 'host', address),
    ended: (ref) => live.get(ref)?.ending.signal ?? AbortSignal.abort(),
    keep: (ref) => keep(context, ref),
    close: () => logins.flush(true),
    collect() {
      logins.flush();
      const oldest = elapsed() - idleLimit;
      for (const [ref, { usedAt }] of live) if (usedAt < oldest && !kept.has(ref)) logout(context, ref);
    },
  };
}

function use(deps: Context, session: Ref<'session'>): SessionIdentity | undefined {
  const row = deps.db.find('session', session);
  const used = deps.live.get(session);
  if (row === undefined || used === undefined) return undefined;
  touch(deps, session, used);
  const { permissions } = used;
  const isLocalSuperuser = row.is_local_superuser;
  return permissions === undefined
    ? { ref: session, isLocalSuperuser, roles: ['pool-admin'] }
    : { ref: session, isLocalSuperuser, roles: [], permissions };
}

/** Open a session, which may do everything where no permissions are given. */
function open(
  deps: Context,
  user: string,
  originator: string,
  { permissions, byPassword = false }: { permissions?: readonly string[] | undefined; byPassword?: boolean },
): Ref<'session'> {
  const { db, live, now, elapsed } = deps;
  const ref = db.create('session', {
    this_host: deps.thisHost(),
    last_active: now(),
    validation_time: now(),
    is_local_superuser: permissions === undefined,
    rbac_permissions: [...(permissions ?? [])],
    auth_user_name: user,
    originator,
  });
  live.set(ref, {
    ending: new AbortController(),
    permissions: permissions && new Set(permissions),
    byPassword,
    usedAt: elapsed(),
    shownAt: elapsed(),
  });
  endSurplus(deps, user, originator);
  return ref;
}

/** End the longest unused sessions of a user and originator that has too many. */
function endSurplus(deps: Context, user: string, originator: string): void {
  const { db, live, kept } = deps;
  const alike = [...live.keys()].filter((ref) => {
    const row = db.find('session', ref);
    return row?.auth_user_name === user && row.originator === originator && !kept.has(ref);
  });
  for (const ref of alike.slice(0, -mostAlike)) logout(deps, ref);
}

/** A session is used: it goes to the end of the live ones, and its row shows the time. */
function touch({ db, live, now, elapsed }: Context, ref: Ref<'session'>, session: Live): void {
  session.usedAt = elapsed();
  live.delete(ref);
  live.set(ref, session);
  if (session.usedAt - session.shownAt < activeStep) return;
  session.shownAt = session.usedAt;
  db.update('session', ref, { last_active: now() });
}

function logout({ db, live, logins }: Context, ref: Ref<'session'>, address?: string): void {
  const row = db.find('session', ref);
  if (row === undefined) return;
  if (address !== undefined) logins.note('info', 'logout', row.auth_user_name, address);
  db.destroy('session', ref);
  live.get(ref)?.ending.abort();
  live.delete(ref);
}

function keep(deps: Context, ref: Ref<'session'> | undefined): () => void {
  const { db, live, kept } = deps;
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
    if (session !== undefined) touch(deps, ref, session);
  };
}

/** The password of the local superuser: who has it, and its change. */
function createPasswords({ passwords, flushed, logins }: Context, first: ReturnType<typeof firstPasswordIn>) {
  const limit = createFairLimit(checksAtOnce, mostChecksWaiting);
  const known = createKnown();
  let changes = 0;
  return {
    /** @throws SESSION_AUTHENTICATION_FAILED, which the log has as what has failed */
    async authenticate(what: string, user: string, password: string, address: string): Promise<void> {
      const isSuperuser = user === superuser;
      // Who has the password need not wait behind those who guess, not even at their address.
      if (isSuperuser && known.is(password)) return;
      const before = changes;
      const hash = isSuperuser ? passwords.get(superuser) : undefined;
      const matches = await limit.run(askerOf(address), () => passwordMatches(password, hash));
      if (matches === true && before === changes) return known.set(password);
      logins.note('warn', `${what} failed`, user, address);
      const why = matches === undefined ? 'Too many logins from this address are waiting' : 'Authentication failure';
      throw new XapiError('SESSION_AUTHENTICATION_FAILED', [user, why]);
    },
    /** Make another password count, durably, and remove the file with the first one. */
    async change(password: string): Promise<void> {
      const hash = await hashPassword(password);
      await first.removeWith(async () => {
        known.forget();
        changes += 1;
        await passwords.put(superuser, hash);
      }, flushed);
    },
  };
}

/** The password that was right last, as a keyed hash that this run of the daemon alone can make. */
function createKnown() {
  const key = randomBytes(32);
  const digest = (password: string): Buffer => createHmac('sha256', key).update(password).digest();
  let right: Buffer | undefined;
  return {
    is: (password: string): boolean => right !== undefined && timingSafeEqual(right, digest(password)),
    set(password: string): void {
      right = digest(password);
    },
    forget(): void {
      right = undefined;
    },
  };
}

/** Root has a password from now on. */
async function provideRootPassword(
  { passwords, log }: SessionDeps,
  first: ReturnType<typeof firstPasswordIn>,
): Promise<void> {
  await first.endChange((password) => passwordMatches(password, passwords.get(superuser)));
  if (passwords.get(superuser) !== undefined) return;
  await passwords.put(superuser, await hashPassword(await first.provide()));
  log.info(`the password of ${superuser} is in ${first.file}, until it is changed`);
}
