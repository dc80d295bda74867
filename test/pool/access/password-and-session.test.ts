import crypto from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Ref } from '../../../idl/index.js';
import { XapiError } from '../../../src/base/errors.js';
import { nullLog } from '../../../src/base/log.js';
import type { Table } from '../../../src/base/store/store.js';
import type { CallContext } from '../../../src/model/handlers.js';
import { hashPassword, type PasswordHash, passwordMatches } from '../../../src/pool/access/password.js';
import { createSessions, type SessionService } from '../../../src/pool/access/sessions.js';
import { type Fixture, openFixture } from '../fixture.js';

describe('passwords', () => {
  it('match their own hash alone', async () => {
    const hash = await hashPassword('pässword');
    expect(JSON.stringify(hash)).not.to.include('pässword');
    expect(await passwordMatches('pässword', hash)).to.equal(true);
    expect(await passwordMatches('password', hash)).to.equal(false);
    expect(await passwordMatches('', undefined)).to.equal(false);
  });
});

describe('a login', () => {
  const { scrypt } = crypto;
  let costs: (number | undefined)[];
  let f: Fixture;
  beforeEach(async () => {
    f = await openFixture();
    costs = [];
    crypto.scrypt = ((...args: [string, Buffer, number, crypto.ScryptOptions, () => void]) => {
      costs.push(args[3].N);
      scrypt(...args);
    }) as typeof scrypt;
    syncBuiltinESMExports();
  });
  afterEach(async () => {
    crypto.scrypt = scrypt;
    syncBuiltinESMExports();
    await f.close();
  });

  it('of a user that is not known hashes as much as one with a wrong password', async () => {
    const hashed: unknown[] = [];
    for (const user of ['root', 'nobody']) {
      const login = () =>
        f.pool.dispatch.handlers.session.login_with_password(f.context(), user, 'wrong', '1.1', 'test');
      expect((await f.failure(login))[0]).to.equal('SESSION_AUTHENTICATION_FAILED');
      hashed.push(costs.splice(0));
    }
    expect(hashed).to.deep.equal([[16384], [16384]]);
  });
});

describe('session', () => {
  let f: Fixture;
  let password: string;
  let file: string;

  beforeEach(async () => {
    f = await openFixture();
    file = join(f.dir, 'root-password');
    password = readFileSync(file, 'utf8').trim();
  });
  afterEach(() => f.close());
  const login = (user: string, word: string): Promise<Ref<'session'>> =>
    Promise.resolve(f.pool.dispatch.handlers.session.login_with_password(f.context(), user, word, '1.1', 'test'));
  const as = (session: Ref<'session'>): CallContext => ({ ...f.context(), session });

  it("leaves root's first password to its owner alone", () => {
    expect(statSync(file).mode & 0o777).to.equal(0o600);
    expect(password).to.have.length.of.at.least(20);
  });

  it('lets root in with it, and nobody else', async () => {
    const session = await login('root', password);
    expect(f.pool.dispatch.sessions.use(session)).to.deep.include({ ref: session, isLocalSuperuser: true });
    const row = f.pool.db.get('session', session);
    expect(row).to.deep.include({ this_host: f.hostA, auth_user_name: 'root', originator: 'test' });
    for (const [user, word] of [
      ['root', 'wrong'],
      ['root', ''],
      ['nobody', password],
    ] as const) {
      const error = await f.failure(() => login(user, word));
      expect(error).to.deep.equal(['SESSION_AUTHENTICATION_FAILED', user, 'Authentication failure']);
    }
  });

  it('ends at logout, and tells who waits for its events', async () => {
    const session = await login('root', password);
    const { event, session: sessions } = f.pool.dispatch.handlers;
    const { token } = await event.from(as(session), ['*'], '', 0);
    const waiting = f.failure(() => event.from(as(session), ['pool'], token, 60));
    await sessions.logout(as(session));
    expect(await waiting).to.deep.equal(['SESSION_INVALID', session]);
    expect(f.pool.dispatch.sessions.use(session)).to.equal(undefined);
  });

  it('are at most 500 for a user and an originator: the longest unused one ends', async () => {
    const sessions = f.pool.dispatch.sessions as SessionService;
    const other = sessions.open('other');
    const [first, second, third] = [sessions.open('one'), sessions.open('one'), sessions.open('one')];
    const release = sessions.keep(first);
    for (let more = 3; more < 500; more += 1) sessions.open('one');
    sessions.use(second);
    const ended = sessions.ended(third);
    sessions.open('one');
    sessions.open('one');
    const left = [other, first, second, third].map((ref) => sessions.use(ref) !== undefined);
    expect(left).to.deep.equal([true, true, true, false]);
    expect(ended.aborted).to.equal(true);
    release();
  });

  it('changes the password, for good', async () => {
    const session = await login('root', password);
    const { change_password: change } = f.pool.dispatch.handlers.session;
    expect((await f.failure(() => change(as(session), 'wrong', 'new')))[0]).to.equal('SESSION_AUTHENTICATION_FAILED');
    expect((await f.failure(() => change(as(session), password, '')))[0]).to.equal('INVALID_VALUE');
    await change(as(session), password, 'new');
    expect(() => statSync(file)).to.throw('ENOENT');
    f = await f.restart();
    expect(await f.failure(() => login('root', password))).to.have.length(3);
    await login('root', 'new');
  });

  describe('changes the password not at all', () => {
    const aside = () => `${file}.changing`;
    const change = (session: Ref<'session'>) =>
      f.failure(() => f.pool.dispatch.handlers.session.change_password(as(session), password, 'new'));
    const inTheWay: [what: string, put: () => void, clear: () => void][] = [
      [
        'is a directory',
        () => {
          rmSync(file);
          mkdirSync(file);
        },
        () => rmSync(file, { recursive: true }),
      ],
      ['has no way to go', () => mkdirSync(aside()), () => rmSync(aside(), { recursive: true })],
    ];
    for (const [what, put, clear] of inTheWay) {
      it(`where the file of the first one cannot be removed, as it ${what}`, async () => {
        const session = await login('root', password);
        put();
        const [code, reason] = await change(session);
        expect(code).to.equal('INTERNAL_ERROR');
        expect(reason).to.contain(`${file} cannot be removed: `);
        clear();
        expect(await f.failure(() => login('root', 'new'))).to.have.length(3);
        await login('root', password);
      });
    }

    it('where it cannot be written, and then the file of the first one is still there', async () => {
      let row: PasswordHash | undefined;
      const put = async (_id: string, hash: PasswordHash) => {
        if (row !== undefined) throw new XapiError('OUT_OF_SPACE', ['db']);
        row = hash;
      };
      const sessions = await createSessions({
        db: f.pool.db,
        passwords: { get: () => row, put } as unknown as Table<PasswordHash>,
        flushed: async () => undefined,
        ...{ stateDir: f.dir, log: nullLog, thisHost: () => f.hostA, now: () => new Date(), elapsed: () => 0 },
      });
      const session = await sessions.login('root', password, 'test', '');
      expect(await f.failure(() => sessions.changePassword(session, password, 'new', ''))).to.deep.equal([
        'OUT_OF_SPACE',
        'db',
      ]);
      expect(readFileSync(file, 'utf8').trim()).to.equal(password);
      await sessions.login('root', password, 'test', '');
    });

    it('where the change was cut short, of whose beginning nothing is left', async () => {
      renameSync(file, aside());
      f = await f.restart();
      expect(readFileSync(file, 'utf8').trim()).to.equal(password);
      await login('root', password);
    });
  });

  it('has no file of the first password left where the end of a change was cut short', async () => {
    const session = await login('root', password);
    await f.pool.dispatch.handlers.session.change_password(as(session), password, 'new');
    writeFileSync(`${file}.changing`, `${password}\n`);
    f = await f.restart();
    for (const each of [file, `${file}.changing`]) expect(() => statSync(each)).to.throw('ENOENT');
    await login('root', 'new');
  });
});
